// What a client can do, step by step: each prints one line that the test reads.
import assert from "node:assert/strict";

export async function step(operation, run, limit) {
  const result = { operation, ok: true, ...(limit && { limit }) };
  try {
    await run();
  } catch (e) {
    process.exitCode = 1;
    Object.assign(result, { ok: false, detail: String(e?.stack ?? e).slice(0, 3000) });
  }
  console.log("RESULT " + JSON.stringify(result));
}

export async function all(pages) {
  const out = [];
  for await (const item of pages) out.push(item);
  return out;
}

export const names = async (pages) => (await all(pages)).map((item) => item.name).sort();

// refused expects that a call fails with a code.
export const refused = (call, code) => assert.rejects(call, (e) => (assert.equal(e.code ?? e.details?.errorCode, code, e.message), true));
