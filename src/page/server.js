// Answers of `siamese serve`.

export class Server {
  #locked;

  // `locked` is told with every answer whether the server asks for a token.
  constructor(locked) {
    this.#locked = locked;
  }

  unlock(token) {
    sessionStorage.setItem('token', token);
  }

  gallery() {
    return this.#json('GET', 'gallery');
  }

  async classify(canvas) {
    return this.#json('POST', 'classify', { top: 5, ink: true }, await png(canvas));
  }

  async enroll(label, canvas) {
    return this.#json('POST', 'examples', { label }, await png(canvas));
  }

  remove(label) {
    return this.#json('DELETE', 'examples', { label });
  }

  async bytes(path) {
    return (await this.#ask('GET', path)).arrayBuffer();
  }

  async #json(...request) {
    return (await this.#ask(...request)).json();
  }

  async #ask(method, path, parameters, body) {
    const query = new URLSearchParams(parameters);
    const token = sessionStorage.getItem('token');
    const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
    const response = await fetch(`api/${path}?${query}`, { method, body, headers });
    this.#locked(response.status === 401);
    if (response.ok) return response;
    const { error } = await response.json().catch(() => ({ error: response.statusText }));
    throw new Error(error);
  }
}

const png = (canvas) => new Promise((done) => canvas.toBlob(done, 'image/png'));
