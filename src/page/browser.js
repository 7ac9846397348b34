// Answers of this browser itself, by siamese.wasm: nothing of a picture is sent anywhere.
import { load } from './siamese.js';

export class Browser {
  #tower;
  #gallery;

  constructor(tower, gallery) {
    this.#tower = tower;
    this.#gallery = gallery;
  }

  // With what gives the bytes of a tower, and of a gallery of it.
  static async open(files) {
    const [siamese, tower, gallery] = await Promise.all([load(), files.tower(), files.gallery()]);
    const opened = siamese.openTower(tower);
    return new Browser(opened, opened.openGallery(gallery));
  }

  // Of a file beside the page.
  static async bytes(name) {
    const response = await fetch(name);
    if (!response.ok) throw new Error(`${name} cannot be loaded: ${response.status} ${response.statusText}`);
    return response.arrayBuffer();
  }

  async gallery() {
    const { name: gallery, classes, doubts } = this.#gallery;
    return { gallery, classes, doubts, tower: this.#tower.name, runtime: 'this browser', editable: false };
  }

  async classify(canvas) {
    const seen = this.#tower.see(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height));
    const since = performance.now();
    const answer = this.#gallery.answer(this.#tower.embedSeen(seen));
    const milliseconds = performance.now() - since;
    const { threshold } = this.#gallery;
    return { ...answer, threshold, stale: false, milliseconds, ink: picture(seen, this.#tower) };
  }
}

// What a tower sees, as a screen shows it: colours as they are, ink dark on white; a data URI.
function picture(seen, { channels, size }) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = size;
  const context = canvas.getContext('2d');
  const image = context.createImageData(size, size);
  const plane = size * size;
  for (let i = 0; i < plane; i += 1) {
    const colour = channels === 3 ? [seen[i], seen[plane + i], seen[2 * plane + i]] : Array(3).fill(255 - seen[i]);
    image.data.set([...colour, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
  return canvas.toDataURL();
}
