import assert from "node:assert/strict";
import { test } from "node:test";
import { endpointOf, whyNot } from "../src/endpoint.js";
import { clip, LinkError, messageOf, printable } from "../src/errors.js";
import { prefixed } from "../src/log.js";
import { layered } from "../src/settings.js";

test("the environment lies over the sidecar's settings", () => {
  const settings = layered('{"mongo": {"url": "a", "size": 1}, "list": [1], "plain": 1}', {
    KAFKA_SIDECAR_SET_MONGO__URL: "mongodb://b",
    KAFKA_SIDECAR_SET_mongo__size: "5",
    KAFKA_SIDECAR_SET_text: '"5"',
    KAFKA_SIDECAR_SET_plain__below: "true",
    HOME: "/root",
  });
  assert.equal(settings.get("mongo:url"), "mongodb://b");
  assert.equal(settings.get("mongo:size"), 5);
  assert.equal(settings.get("text"), "5");
  assert.equal(settings.get("plain:below"), true);
  assert.deepEqual(settings.get("list"), [1]);
  assert.equal(settings.get("mongo:absent"), undefined);
  assert.equal(settings.get("toString"), undefined);
  assert.equal(settings.get("list:length"), undefined);
  assert.deepEqual(Object.keys(settings.get() as object).sort(), ["list", "mongo", "plain", "text"]);
  assert.throws(() => {
    (settings.get("mongo") as { url: string }).url = "c";
  }, TypeError);
});

test("settings that cannot be used are refused with what to mend", () => {
  assert.throws(() => layered("[1]", {}), /no JSON object/);
  assert.throws(() => layered("{}", { KAFKA_SIDECAR_SET_a____b: "1" }), /KAFKA_SIDECAR_SET_a____b: a part/);
});

test("where to dial", () => {
  assert.equal(endpointOf({}, {}).target, "127.0.0.1:50051");
  assert.equal(endpointOf({ address: "0.0.0.0:1" }, { KAFKA_SIDECAR_ADDRESS: "x:2" }).target, "127.0.0.1:1");
  assert.equal(endpointOf({}, { KAFKA_SIDECAR_ADDRESS: "[::]:2" }).target, "[::1]:2");
  assert.equal(endpointOf({}, { KAFKA_SIDECAR_ADDRESS: "unix:///a.sock" }).target, "unix:///a.sock");
  assert.equal(endpointOf({}, { KAFKA_SIDECAR_TOKEN: "t" }).token, "t");
  assert.throws(() => endpointOf({ address: "nowhere" }, {}), /expected host:port or unix/);
  assert.throws(() => endpointOf({}, { KAFKA_SIDECAR_CA: "/absent.pem" }), /\/absent.pem cannot be read/);
  assert.throws(() => endpointOf({}, { KAFKA_SIDECAR_CERT: "/a.pem" }), /go together/);
  assert.throws(() => endpointOf({}, { KAFKA_SIDECAR_CA: "package.json" }), /package.json: not usable for TLS/);
});

test("a failed connection is told with what helps", () => {
  const endpoint = endpointOf({}, {});
  const why = (details: string): string => whyNot(endpoint, new LinkError(details, details)).why;
  assert.match(why("connect ECONNREFUSED 127.0.0.1:50051"), /no sidecar answers at 127.0.0.1:50051 .*does it run\?/);
  assert.match(why("read ECONNRESET"), /server.tls/);
  assert.equal(whyNot(endpoint, new LinkError("", "self-signed certificate")).never, true);
});

test("texts from elsewhere cannot write to a terminal, and are cut between characters", () => {
  assert.equal(printable("a\u001b[2Jb\n\u202e"), "a\\u001b[2Jb\\u000a\\u202e");
  assert.equal(clip("aéé", 4), "aé");
  assert.equal(clip("aéé", 5), "aéé");
  const broken = new Error("x");
  Object.defineProperty(broken, "message", {
    get: () => {
      throw new Error("no");
    },
  });
  assert.equal(messageOf(broken), "an error without a readable text");
  assert.equal(messageOf("text"), "text");
});

test("a log that throws stops nothing", () => {
  const fail = (): never => {
    throw new Error("closed");
  };
  prefixed({ info: fail, warn: fail, error: fail }, "words:").info("hello");
});
