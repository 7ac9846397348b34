// Towers and galleries of `siamese` in JavaScript; siamese.d.ts tells the types. The work is done by siamese.wasm,
// whose functions are in src/browser/abi.rs of the repository.

const decoder = new TextDecoder();

export class SiameseError extends Error {
  name = 'SiameseError';
}

export async function load(source = new URL('siamese.wasm', import.meta.url)) {
  const module = source instanceof WebAssembly.Module ? source : await WebAssembly.compile(await bytesOf(source));
  let calls;
  const panicked = (words, length) => {
    throw new Error(decoder.decode(new Uint8Array(calls.memory.buffer, words, length)));
  };
  calls = (await WebAssembly.instantiate(module, { siamese: { panicked } })).exports;
  return new Siamese(new Calls(calls));
}

async function bytesOf(source) {
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return source;
  const response = await fetch(source);
  if (!response.ok) throw new SiameseError(`${source} cannot be loaded: ${response.status} ${response.statusText}`);
  return response.arrayBuffer();
}

// The module's functions: bytes in, bytes out, and what fails thrown.
class Calls {
  #module;
  #fault = null;

  constructor(module) {
    this.#module = module;
  }

  // Gives the number of what was opened, and a copy of the bytes.
  call(name, input, ...numbers) {
    return this.#guarded(() => {
      const bytes = view(input);
      const place = this.#module.input(bytes.length);
      new Uint8Array(this.#module.memory.buffer, place, bytes.length).set(bytes);
      const number = this.#module[name](...numbers);
      const [from, length] = [this.#module.output(), this.#module.output_length()];
      const output = new Uint8Array(this.#module.memory.buffer, from, length).slice();
      if (number < 0) throw new SiameseError(decoder.decode(output));
      return [number, output];
    });
  }

  // As `call`, of an answer in JSON.
  ask(name, input, ...numbers) {
    const [number, output] = this.call(name, input, ...numbers);
    return [number, JSON.parse(decoder.decode(output))];
  }

  close(name, number) {
    this.#guarded(() => this.#module[name](number));
  }

  // After a panic, or without memory, nothing of the module can be relied upon.
  #guarded(work) {
    if (this.#fault) throw new Error(`the module has failed before (${this.#fault.message}): load it again`);
    try {
      return work();
    } catch (error) {
      if (error instanceof SiameseError) throw error;
      this.#fault = error;
      throw new Error(`the module has failed: ${error.message}`, { cause: error });
    }
  }
}

function view(bytes) {
  if (bytes instanceof ArrayBuffer) return new Uint8Array(bytes);
  if (ArrayBuffer.isView(bytes)) return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  throw new SiameseError('bytes are asked for: an ArrayBuffer or a Uint8Array');
}

// A whole number that fits 32 bits, which is all that the module can be given.
function whole(number, what) {
  if (Number.isInteger(number) && number >= 0 && number < 2 ** 31) return number;
  throw new SiameseError(`${what} is ${number}, not a whole number`);
}

class Siamese {
  #calls;

  constructor(calls) {
    this.#calls = calls;
    const [, about] = calls.ask('begin', new Uint8Array());
    Object.assign(this, about);
  }

  openTower(file, { kernels = this.kernels[0] } = {}) {
    const place = this.kernels.indexOf(kernels);
    if (place < 0) throw new SiameseError(`there are no kernels ${kernels}, but ${this.kernels.join(', ')}`);
    return new Tower(this.#calls, ...this.#calls.ask('open_tower', file, place));
  }
}

class Tower {
  #calls;
  #number;

  constructor(calls, number, { name, kind, preprocessing, dim, sha256 }) {
    this.#calls = calls;
    this.#number = number;
    const channels = preprocessing.kind === 'ink' ? 1 : 3;
    Object.assign(this, { name, kind, channels, size: preprocessing.size, dim, sha256 });
  }

  see({ width, height, data }) {
    return this.#calls.call('see', data, this.#open(), whole(width, 'the width'), whole(height, 'the height'))[1];
  }

  embed(pixels) {
    return this.embedSeen(this.see(pixels));
  }

  embedSeen(seen) {
    return new Float32Array(this.#calls.call('embed', seen, this.#open())[1].buffer);
  }

  openGallery(file) {
    return new Gallery(this.#calls, ...this.#calls.ask('open_gallery', file, this.#open()));
  }

  close() {
    this.#calls.close('close_tower', this.#open());
    this.#number = null;
  }

  #open() {
    if (this.#number === null) throw new SiameseError('the tower was closed');
    return this.#number;
  }
}

class Gallery {
  #calls;
  #number;

  constructor(calls, number, { gallery, classes, threshold = null, doubts }) {
    this.#calls = calls;
    this.#number = number;
    Object.assign(this, { name: gallery, classes, threshold, doubts });
  }

  answer(embedding, top = 5) {
    if (!(embedding instanceof Float32Array)) throw new SiameseError('an embedding is a Float32Array');
    return this.#calls.ask('answer', embedding, this.#open(), whole(top, 'the number of classes to tell'))[1];
  }

  close() {
    this.#calls.close('close_gallery', this.#open());
    this.#number = null;
  }

  #open() {
    if (this.#number === null) throw new SiameseError('the gallery was closed');
    return this.#number;
  }
}
