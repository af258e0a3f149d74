// Small helpers around the DOM. Text from elsewhere only ever becomes text: nothing here parses HTML.

export const byId = (id) => document.getElementById(id);

// An element with properties (`class`, `onclick`, or attributes) and children (nodes or texts).
export function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// Changes a text only if it differs: a screen reader and a selection are left alone otherwise.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Changes a text in which what stands between backticks is something to type.
export function setProse(node, text) {
  if (node.textContent === text.replaceAll("`", "")) return;
  const pieces = text.split("`");
  node.replaceChildren(...pieces.map((piece, index) => (index % 2 === 1 ? make("code", {}, piece) : piece)));
}

export function setClass(node, name) {
  if (node.className !== name) node.className = name;
}

export function show(node, shown) {
  if (node.hidden === shown) node.hidden = !shown;
}

// Makes the children of `parent` be those of `items`, in their order. A child stays the same element as long as its
// key is there, so that focus and open details survive. `create(item)` makes an element; `update(element, item)` is
// called for each.
export function keep(parent, items, keyOf, create, update) {
  const active = parent.contains(document.activeElement) ? document.activeElement : null;
  const before = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const keys = new Set(items.map(keyOf));
  for (const [key, child] of before) {
    if (!keys.has(key)) child.remove();
  }
  let next = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let child = before.get(key);
    if (child === undefined) {
      child = create(item);
      child.dataset.key = key;
    }
    update(child, item);
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
  }
  if (active !== null && document.activeElement !== active) refocus(active, parent);
}

// An element that is moved or removed loses the focus. Somebody who uses a keyboard must not have to start anew.
function refocus(active, parent) {
  const next = active.isConnected ? active : parent.querySelector("button");
  next?.focus({ preventScroll: true });
}
