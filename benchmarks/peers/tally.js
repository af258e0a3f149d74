// What `tally.py` is, for Node: counts, a line of JSON when the clock starts and one when all records were handled.
"use strict";

const fs = require("node:fs");

class Tally {
  constructor(total, warm, partitions = 8) {
    this.counts = new Array(partitions).fill(0);
    this.count = 0;
    this.strange = 0;
    this.finished = false;
    this.total = total;
    this.warm = warm;
    this.next = warm;
    this.began = undefined;
    this.last = new Map(); // the offset of each key's last record
  }

  // A batch of one partition, by its ends; one record is a batch.
  batch(partition, first, last, count) {
    if (this.counts[partition] !== first || last - first + 1 !== count) this.strange += 1;
    this.counts[partition] += count;
    this.count += count;
    if (this.count >= this.next) this.look();
  }

  // One record, in any order of its partition; records with one `key` must come in theirs. Topics begin at offset 0.
  scattered(partition, offset, key) {
    this.seen ??= this.counts.map(() => new Uint8Array(this.total));
    if (this.seen[partition][offset] !== 0 || offset < (this.last.get(key) ?? 0)) this.strange += 1;
    this.seen[partition][offset] = 1;
    if (key !== undefined) this.last.set(key, offset);
    this.counts[partition] += 1;
    this.count += 1;
    if (this.count >= this.next) this.look();
  }

  look() {
    const now = process.hrtime.bigint();
    if (this.began === undefined) {
      this.began = now;
      this.warm = this.count;
      this.next = this.total;
      say({ warm: true });
    } else if (!this.finished) {
      this.finished = true;
      this.next = Infinity;
      say({
        records: this.count,
        measured: this.count - this.warm,
        seconds: Number(now - this.began) / 1e9,
        per_partition: this.counts,
        strange: this.strange,
      });
      fs.readSync(0, Buffer.alloc(1)); // until the runner has looked
    }
  }
}

function say(message) {
  fs.writeSync(1, JSON.stringify(message) + "\n");
}

// Broker, topic, group and a tally, from the command line.
function fromCommandLine() {
  const [broker, topic, group, total, warm] = process.argv.slice(2);
  return { broker, topic, group, tally: new Tally(Number(total), Number(warm)) };
}

module.exports = { Tally, fromCommandLine };
