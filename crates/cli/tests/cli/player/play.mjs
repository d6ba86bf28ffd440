// Plays what the engine has recorded on this driver, and compares every buffer. `read` gives the bytes of a file in the
// folder of a case, by the case and the file's name, as an ArrayBuffer; `say` takes lines. Gives the count of differences.
export async function play(gpu, load, cases, read, say) {
  let differing = 0;
  const differs = text => {
    differing++;
    return say(text);
  };
  for (const name of cases) {
    const adapter = await gpu.requestAdapter(); // for one device each
    if (!adapter) throw new Error('there is no adapter');
    const { vendor, architecture, device: number, description } = adapter.info;
    if (name === cases[0]) await say(`adapter: ${[vendor, architecture, number, description].filter(Boolean).join(', ')}`);
    const device = await adapter.requestDevice();
    device.onuncapturederror = ({ error }) => differs(`${name}: ${error.message}`);
    const optimizer = await load(device, file => read(name, `plan/${file}`));
    const { start, steps, end } = JSON.parse(new TextDecoder().decode(await read(name, 'run.json')));
    const bin = await read(name, 'run.bin');
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
      const first = new Uint32Array(expected.buffer).findIndex((word, i) => word !== found[i]);
      if (first >= 0) await differs(`${name}: buffer ${buffer}, ${role}, differs from word ${first} on`);
      words += found.length;
    }
    await say(`${name}: ${steps.length} steps, ${end.length} buffers, ${words} words`);
    device.destroy();
  }
  return differing;
}
