// Computes the proof of work, beside the page: Argon2id in rounds, and a SHA-256 proof over all results.
"use strict";
importScripts("/static/argon2.umd.min.js");

const decode = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const encode = (bytes) =>
  btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

// SHA-256 (FIPS 180-4). The one of browsers is only there on encrypted pages.
const primes = (() => {
  const found = [];
  for (let number = 2; found.length < 64; number++) if (found.every((prime) => number % prime)) found.push(number);
  return found;
})();
const fraction = (number) => ((number - Math.floor(number)) * 4294967296) | 0;
const ROUND = Int32Array.from(primes, (prime) => fraction(Math.cbrt(prime)));
const START = Int32Array.from(primes.slice(0, 8), (prime) => fraction(Math.sqrt(prime)));
const words = new Int32Array(64);
const turned = (word, by) => (word >>> by) | (word << (32 - by));

function firstWord(text) {
  const length = text.length;
  const blocks = new Uint8Array(((length + 8) >> 6) * 64 + 64);
  for (let at = 0; at < length; at++) blocks[at] = text.charCodeAt(at);
  blocks[length] = 0x80;
  const view = new DataView(blocks.buffer);
  view.setUint32(blocks.length - 4, length * 8);
  const hash = START.slice();
  for (let block = 0; block < blocks.length; block += 64) {
    for (let at = 0; at < 16; at++) words[at] = view.getInt32(block + at * 4);
    for (let at = 16; at < 64; at++) {
      const [x, y] = [words[at - 15], words[at - 2]];
      const small = turned(x, 7) ^ turned(x, 18) ^ (x >>> 3);
      words[at] = (words[at - 16] + small + words[at - 7] + (turned(y, 17) ^ turned(y, 19) ^ (y >>> 10))) | 0;
    }
    let [a, b, c, d, e, f, g, h] = hash;
    for (let at = 0; at < 64; at++) {
      const one = (h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & f) ^ (~e & g)) + ROUND[at] + words[at]) | 0;
      const two = ((turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((word, at) => { hash[at] = (hash[at] + word) | 0; });
  }
  return hash[0] >>> 0;
}

addEventListener("message", async ({ data: { nonce, rounds, memory, passes, bytes, bits } }) => {
  try {
    const salt = decode(nonce).slice(0, 16);
    const each = new Uint8Array(rounds * bytes);
    for (let round = 0; round < rounds; round++) {
      const result = await hashwasm.argon2id({
        password: `${nonce}.${round}`, salt, parallelism: 1, iterations: passes, memorySize: memory,
        hashLength: bytes, outputType: "binary",
      });
      each.set(result, round * bytes);
      postMessage({ done: round + 1 });
    }
    const results = encode(each);
    for (let counter = 0; ; counter++) {
      const proof = `${nonce}.${counter}.${results}`;
      if (firstWord(proof) >>> (32 - bits) === 0) return postMessage({ proof });
    }
  } catch {
    postMessage({ failed: true });
  }
});
