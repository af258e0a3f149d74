// Time that stands still until a session moves it. Timers go off one by one, each at its own time.
"use strict";

const later = setImmediate;
let now = 0;
let timers = [];
let last = 0;

function start(callback, wait, args, every) {
  const timer = { id: ++last, at: now + Math.max(1, Number(wait) || 1), callback, args, every, unref() {}, ref() {} };
  timers.push(timer);
  return timer;
}

function stop(timer) {
  timers = timers.filter((one) => one !== timer);
}

function install() {
  Date.now = () => now;
  global.setTimeout = (callback, wait, ...args) => start(callback, wait, args, undefined);
  global.setInterval = (callback, wait, ...args) => start(callback, wait, args, Math.max(1, Number(wait) || 1));
  global.clearTimeout = stop;
  global.clearInterval = stop;
}

// All that promises bring about.
function settled() {
  return new Promise((resolve) => later(() => later(resolve)));
}

async function advance(milliseconds) {
  const end = now + milliseconds;
  for (;;) {
    const due = timers.filter((one) => one.at <= end).sort((a, b) => a.at - b.at || a.id - b.id)[0];
    if (due === undefined) {
      break;
    }
    now = due.at;
    if (due.every === undefined) {
      stop(due);
    } else {
      due.at += due.every;
    }
    due.callback(...due.args);
    await settled();
  }
  now = end;
}

function set(time) {
  now = time;
  timers = [];
}

module.exports = { advance, install, set, settled };
