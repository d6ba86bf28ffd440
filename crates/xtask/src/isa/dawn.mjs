// node dawn.mjs DAWN --part AT/OF FOLDER WORD...: compiles the folder's kernels as a page of Chromium would, with
// WebGPU's default limits, on Dawn's null backend: Tint and all of WebGPU's validation, and no GPU.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [dawn, , part, folder, ...words] = process.argv.slice(2);
const [at, of] = part.split('/').map(Number);
const { create } = await import(pathToFileURL(dawn));
const [VALIDATION, INTERNAL, COMPUTE] = ['validation', 'internal', 4]; // GPUErrorFilter, GPUShaderStage
const gpu = create(['backend=null']);
const device = await (await gpu.requestAdapter()).requestDevice();

const lines = (await readFile(join(folder, 'kernels.jsonl'), 'utf8')).trim().split('\n').map(line => JSON.parse(line));
const wanted = lines.filter(({ name }) => words.every(word => name.split(' ').includes(word)));
const kernels = wanted.filter((_, number) => number % of === at);

// What Tint says of a text, once for all kernels that are made of it: warnings too.
const modules = new Map();
async function moduleOf(file) {
  if (!modules.has(file)) {
    const code = await readFile(join(folder, file), 'utf8');
    device.pushErrorScope(VALIDATION);
    const module = device.createShaderModule({ label: file, code });
    const { messages } = await module.getCompilationInfo();
    const said = [...messages].map(({ type, message, lineNum }) =>
      `${type} in line ${lineNum}: ${message}: ${code.split('\n')[lineNum - 1]?.trim()}`);
    const error = await device.popErrorScope();
    if (error && !said.length) said.push(error.message);
    modules.set(file, { module, said });
  }
  return modules.get(file);
}

async function compile({ name, file, constants, bindings }) {
  const { module, said } = await moduleOf(file);
  if (said.length) return said;
  const entries = bindings.map((words, binding) => {
    const [type, dynamic] = words.split(' ');
    return { binding, visibility: COMPUTE, buffer: { type, hasDynamicOffset: dynamic === 'dynamic' } };
  });
  device.pushErrorScope(VALIDATION);
  device.pushErrorScope(INTERNAL);
  const layout = device.createPipelineLayout({ bindGroupLayouts: [device.createBindGroupLayout({ entries })] });
  device.createComputePipeline({ label: name, layout, compute: { module, entryPoint: 'main', constants } });
  const errors = [await device.popErrorScope(), await device.popErrorScope()];
  return errors.filter(error => error).map(error => error.message);
}

let refused = 0;
for (const kernel of kernels) {
  const said = await compile(kernel);
  if (said.length) {
    console.error(`${kernel.name}: ${said.join('\n')}`);
    refused++;
  }
}
console.log(`Dawn compiles ${kernels.length - refused} kernels`);
// Dawn may keep the process from ending.
process.exit(refused ? 1 : 0);
