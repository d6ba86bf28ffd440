// What a page has and Node has not: navigator.gpu, which is Dawn, and a fetch that finds files.
import { readFile } from 'node:fs/promises';
import { pathToFileURL } from 'node:url';

const { create, globals } = await import(pathToFileURL(process.env.FALLLINE_DAWN));
Object.assign(globalThis, globals);
Object.defineProperty(globalThis, 'navigator', { value: { gpu: create([]) } });
globalThis.fetch = async name => new Response(await readFile(name));
