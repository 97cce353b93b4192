// Requests to the server, and its errors as problem documents (RFC 9457).

const KEY = "pastiche-api-key";

export const apiKey = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
};

/** An error response, or no response at all (status 0). */
export class Problem extends Error {
  constructor(status, { code = "", title = "", detail = "", request_id = "" }, retryAfter = 0) {
    super(detail || title);
    this.name = "Problem";
    this.status = status;
    this.code = code || (status ? "unknown" : "unreachable");
    this.title = title;
    this.detail = detail;
    this.requestId = request_id;
    this.retryAfter = retryAfter; // seconds
  }

  /** Whether the same request may succeed later. */
  get isTemporary() {
    return [0, 502, 503, 504].includes(this.status);
  }
}

export const isAbort = (error) => error?.name === "AbortError";

const aborted = () => new DOMException("Aborted", "AbortError");

/** Return the styles that the server has. */
export async function fetchStyles() {
  const response = await fetch("/styles").catch(() => {
    throw new Problem(0, {});
  });
  const document = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, document, retryAfter(response.headers));
  return document.styles;
}

const retryAfter = (headers) => Number(headers.get("Retry-After")) || 0;

/**
 * Send a form, and return the picture with what the server says of it.
 * XMLHttpRequest, unlike fetch, reports the progress of an upload.
 */
export function post(path, fields, { signal, onUpload } = {}) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value !== null && value !== undefined && value !== "") form.append(name, value);
  }
  const started = performance.now();
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(aborted());
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.responseType = "blob";
    const key = apiKey.get();
    if (key) request.setRequestHeader("Authorization", `Bearer ${key}`);
    if (onUpload) {
      request.upload.onprogress = (event) => event.lengthComputable && onUpload(event.loaded / event.total);
    }
    const stop = () => request.abort();
    signal?.addEventListener("abort", stop, { once: true });
    request.onloadend = () => signal?.removeEventListener("abort", stop);
    request.onabort = () => reject(aborted());
    request.onerror = request.ontimeout = () => reject(new Problem(0, {}));
    request.onload = async () => {
      const header = (name) => request.getResponseHeader(name) ?? "";
      if (request.status === 200) {
        resolve({
          blob: request.response,
          seconds: (performance.now() - started) / 1000,
          device: header("X-Device"),
          seed: header("X-Seed"),
        });
        return;
      }
      const document = await request.response.text().then(JSON.parse).catch(() => ({}));
      reject(new Problem(request.status, document, Number(header("Retry-After")) || 0));
    };
    request.send(form);
  });
}

const ATTEMPTS = 6;

/**
 * Run `work` until it succeeds. While the server is busy or away, wait as long as it asks for and
 * try again; `onWait(problem, seconds)` hears of every second of waiting.
 */
export async function patiently(work, { signal, onWait }) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (!error.isTemporary || attempt === ATTEMPTS) throw error;
      const wait = error.retryAfter || 2 ** attempt;
      for (let left = wait; left > 0; left -= 1) {
        onWait?.(error, left);
        await pause(1000, signal);
      }
    }
  }
}

/** Wait; rejects with an AbortError as soon as the signal aborts. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(aborted());
    const stop = () => {
      clearTimeout(timer);
      reject(aborted());
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
