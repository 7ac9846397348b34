/** Towers and galleries of `siamese` in JavaScript: pictures are recognised where they are. */

/** Pixels, row by row, each red, green, blue, opacity, as a canvas's `ImageData` has them. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array | Uint8ClampedArray;
}

/** What is told of a file, a picture or an argument that cannot be used. */
export class SiameseError extends Error {}

/** Which numbers a tower has: floating point, or whole numbers that are the same on every machine. */
export type Kind = 'float' | 'exact';

export interface TowerOptions {
  /** One of `Siamese.kernels`; the first is the fastest. */
  readonly kernels?: string;
}

/**
 * Loads the module.
 * @param source its bytes, the compiled module, or where it is; `siamese.wasm` beside this file unless told otherwise.
 */
export function load(source?: ArrayBuffer | Uint8Array | WebAssembly.Module | URL | string): Promise<Siamese>;

export interface Siamese {
  readonly version: string;
  /** The sets of inner loops that it has, the fastest first. */
  readonly kernels: readonly string[];
  /**
   * Opens a tower.
   * @param file the bytes of its ONNX file.
   * @throws {SiameseError} where it is no tower, or cannot be lowered whole.
   */
  openTower(file: ArrayBuffer | Uint8Array, options?: TowerOptions): Tower;
}

export interface Tower {
  readonly name: string;
  readonly kind: Kind;
  /** 1 for ink, 3 for colours. */
  readonly channels: 1 | 3;
  /** The side of the square that it sees, pixels. */
  readonly size: number;
  /** D, the numbers of an embedding. */
  readonly dim: number;
  /** SHA-256 of its file, in lower-case hexadecimal. */
  readonly sha256: string;
  /** What it sees of a picture, `[channels, size, size]`: levels of ink (0 is paper), or red, green and blue. */
  see(picture: Pixels): Uint8Array;
  /** The embedding of a picture, `[dim]`: of an exact tower the bits that `siamese embed` gives. */
  embed(picture: Pixels): Float32Array;
  /** The embedding of what it sees, `[channels, size, size]`. */
  embedSeen(seen: Uint8Array): Float32Array;
  /**
   * Opens a gallery of this tower.
   * @param file the bytes of `gallery.safetensors`, as `siamese page` writes it.
   * @throws {SiameseError} where it is none, or another tower's.
   */
  openGallery(file: ArrayBuffer | Uint8Array): Gallery;
  /** Frees its memory; it cannot be used any more, but its galleries can. */
  close(): void;
}

export interface Gallery {
  readonly name: string;
  /** In the order of their first enrolment. */
  readonly classes: readonly { readonly label: string; readonly examples: number }[];
  /** What is stranger than that is unknown; null where nothing is. */
  readonly threshold: number | null;
  /** Why the threshold may not fit, in words. */
  readonly doubts: string | null;
  /**
   * The answer to an embedding `[dim]`.
   * @param top the nearest classes to tell, 5 unless told otherwise.
   */
  answer(embedding: Float32Array, top?: number): Answer;
  /** Frees its memory; it cannot be used any more. */
  close(): void;
}

export interface Answer {
  /** The class; null where the picture is unknown. */
  readonly label: string | null;
  /** Distance to the nearest class. */
  readonly distance: number;
  /** How much farther the second nearest class is; null where there is but one. */
  readonly margin: number | null;
  /** How strange the picture is to the gallery; null without a threshold. */
  readonly strangeness: number | null;
  /** The nearest classes, nearest first; of equal distances the one enrolled first. */
  readonly nearest: readonly { readonly label: string; readonly distance: number }[];
}
