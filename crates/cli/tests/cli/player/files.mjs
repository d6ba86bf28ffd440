// node files.mjs PLAYER CASE..., or Deno: plays what lies in folders.
import { readFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import process from 'node:process';
import { pathToFileURL } from 'node:url';
import { play } from './play.mjs';

const [player, ...cases] = process.argv.slice(2);
const { load } = await import(pathToFileURL(resolve(player)));
const read = async (name, file) => new Uint8Array(await readFile(join(dirname(cases[0]), name, file))).buffer;
const differing = await play(navigator.gpu, load, cases.map(folder => basename(folder)), read, line => console.log(line));
// Dawn may keep the process from ending.
process.exit(differing ? 1 : 0);
