// node play.mjs PLAYER CASE...: plays what the engine has recorded on this driver, and compares every buffer.
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [player, ...cases] = process.argv.slice(2);
const { load } = await import(pathToFileURL(resolve(player)));
let differing = 0;
for (const folder of cases) {
  const adapter = await navigator.gpu.requestAdapter(); // for one device each
  const device = await adapter.requestDevice();
  device.onuncapturederror = ({ error }) => {
    console.log(`${folder}: ${error.message}`);
    differing++;
  };
  const file = async name => new Uint8Array(await readFile(join(folder, name))).buffer;
  const optimizer = await load(device, name => file(join('plan', name)));
  const { start, steps, end } = JSON.parse(await readFile(join(folder, 'run.json'), 'utf8'));
  const bin = await file('run.bin');
  const bytes = ({ at, size }) => new Uint8Array(bin, at, size);
  for (const { buffer, offset, ...of } of start) optimizer.write({ buffer, offset }, bytes(of));
  for (const { factor, grads, ...brings } of steps) {
    for (const { tensor, ...of } of grads) optimizer.write(optimizer.tensor(tensor).grad, bytes(of));
    const encoder = device.createCommandEncoder();
    optimizer.step(encoder, { lr: group => group.lr * factor, ...brings });
    device.queue.submit([encoder.finish()]);
  }
  let words = 0;
  for (const { buffer, offset, ...of } of end) {
    const { size, role } = optimizer.plan.buffers[buffer];
    const expected = new Uint8Array(size);
    expected.set(bytes(of), offset);
    const found = new Uint32Array(await optimizer.read({ buffer, offset: 0, size }));
    const differs = new Uint32Array(expected.buffer).findIndex((word, i) => word !== found[i]);
    if (differs >= 0) {
      console.log(`${folder}: buffer ${buffer}, ${role}, differs from word ${differs} on`);
      differing++;
    }
    words += found.length;
  }
  console.log(`${steps.length} steps, ${end.length} buffers, ${words} words`);
  device.destroy();
}
// Dawn may keep the process from ending.
process.exit(differing ? 1 : 0);
