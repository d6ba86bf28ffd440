// Plays a plan of `fallline export` on a GPUDevice: in a browser, in Node with npm's `webgpu`, in Deno.
// The format, and what a step brings, is described in docs/plan.md.

const [FORMAT, VERSION] = ['fallline-plan', 1];
const [MAP_READ, COPY_DST, COMPUTE] = [1, 8, 4]; // GPUBufferUsage, GPUShaderStage

/** Creates all that a plan says; `read` gives the bytes of a file of it, by name, as an ArrayBuffer. */
export async function load(device, read) {
  const text = bytes => new TextDecoder().decode(bytes);
  const plan = JSON.parse(text(await read('plan.json')));
  if (plan.format !== FORMAT || plan.version !== VERSION) {
    throw new Error(`expected a ${FORMAT} of version ${VERSION}, found ${plan.format} ${plan.version}`);
  }
  for (const [limit, expected] of Object.entries(plan.requiredLimits)) {
    const found = device.limits[limit];
    if (found < expected) throw new Error(`the plan needs ${limit} ${expected}, the device has ${found}`);
  }
  const [bin, ...wgsl] = await Promise.all(['plan.bin', ...plan.kernels.map(k => k.wgsl)].map(read));
  const layouts = plan.kernels.map(({ label, bindings }) => device.createBindGroupLayout({
    label,
    entries: bindings.map((buffer, binding) => ({ binding, visibility: COMPUTE, buffer })),
  }));
  const pipelines = await Promise.all(plan.kernels.map(({ label, constants }, i) =>
    device.createComputePipelineAsync({
      label,
      layout: device.createPipelineLayout({ label, bindGroupLayouts: [layouts[i]] }),
      compute: {
        module: device.createShaderModule({ label, code: text(wgsl[i]) }),
        entryPoint: 'main',
        constants,
      },
    })));
  return new Player(device, plan, bin, layouts, pipelines);
}

/** The optimizer of a plan. */
export class Player {
  #steps = 0;

  constructor(device, plan, bin, layouts, pipelines) {
    Object.assign(this, { device, plan, bin, pipelines });
    this.buffers = plan.buffers.map(({ role, size, usage, contents }) => {
      const buffer = device.createBuffer({ label: `fallline ${role}`, size, usage });
      if (contents) {
        const { at, size } = contents.bytes;
        device.queue.writeBuffer(buffer, contents.offset, bin, at, size);
      }
      return buffer;
    });
    this.bindGroups = plan.bindGroups.map(({ kernel, entries }) => device.createBindGroup({
      layout: layouts[kernel],
      entries: entries.map((range, binding) => ({ binding, resource: this.resource(range) })),
    }));
    this.tensors = new Map(plan.tensors.map(tensor => [tensor.name, tensor]));
  }

  /** The tensor of a name: where its `param`, its `grad` and each slot of its `state` lies. */
  tensor(name) {
    const tensor = this.tensors.get(name);
    if (!tensor) throw new Error(`the plan has no tensor '${name}'`);
    return tensor;
  }

  /** A range of the plan, such as `tensor('weight').grad`, for a bind group of yours. */
  resource({ buffer, offset, size }) {
    return { buffer: this.buffers[buffer], offset, size };
  }

  /** Writes a range: `data` is a typed array in the range's format, of whole words. */
  write({ buffer, offset }, data) {
    this.device.queue.writeBuffer(this.buffers[buffer], offset, data);
  }

  /** Reads a range back, as an ArrayBuffer. */
  async read({ buffer, offset, size }) {
    const staging = this.device.createBuffer({ size: Math.ceil(size / 4) * 4, usage: MAP_READ | COPY_DST });
    const encoder = this.device.createCommandEncoder();
    encoder.copyBufferToBuffer(this.buffers[buffer], offset, staging, 0, staging.size);
    this.device.queue.submit([encoder.finish()]);
    await staging.mapAsync(MAP_READ);
    const bytes = staging.getMappedRange().slice(0, size);
    staging.destroy();
    return bytes;
  }

  /**
   * Records a step into the encoder. `lr` is the learning rate, or a function of a group, by default its own `lr`;
   * `hyperparameters` an object of those that change, by name; `withoutGrad` the names of tensors that have no gradient
   * in this step. Submit the encoder before `stepInput.entries` more are recorded.
   */
  step(encoder, { lr, accumulated = 1, zeroGrads = false, withoutGrad = [], hyperparameters = {} } = {}) {
    const { plan, device } = this;
    const { buffer, entries, entrySize, bytes, ...at } = plan.stepInput;
    const input = this.bin.slice(bytes.at, bytes.at + bytes.size);
    const view = new DataView(input);
    view.setFloat32(at.gradFactor, 1 / accumulated, true);
    view.setUint32(at.zeroGrads, Number(zeroGrads), true);
    const rates = plan.groups.map(group => (typeof lr === 'function' ? lr(group) : lr ?? group.lr));
    for (const { number, group } of plan.tensors) view.setFloat32(at.rates + 4 * number, rates[group], true);
    for (const { number } of withoutGrad.map(name => this.tensor(name))) {
      const byte = at.withoutGrad + (number >> 3);
      view.setUint8(byte, view.getUint8(byte) | (1 << (number & 7)));
    }
    for (const { name, offset } of plan.groups.flatMap(group => group.hyperparameters)) {
      if (name in hyperparameters) view.setFloat32(offset, hyperparameters[name], true);
    }
    const entry = (this.#steps++ % entries) * entrySize;
    device.queue.writeBuffer(this.buffers[buffer], entry, input);
    const pass = encoder.beginComputePass({ label: 'fallline step' });
    for (const { kernel, bindGroup, dynamicOffsets, workgroups } of plan.pass) {
      const offsets = dynamicOffsets.map(({ offset, inEntry }) => offset + (inEntry ? entry : 0));
      pass.setPipeline(this.pipelines[kernel]);
      pass.setBindGroup(0, this.bindGroups[bindGroup], offsets);
      pass.dispatchWorkgroups(...workgroups);
    }
    pass.end();
  }
}
