// The photo that is painted, and smaller copies of it.

const SAMPLE = "/page/sample.jpg";
const LARGEST_COPY = 2048; // pixels of the longest side
export const SMALLEST_COPY = 256;

export class Photo {
  #copies = new Map();

  /** file: a Blob; width and height are 0 if the browser cannot decode it. */
  constructor(file, name, width, height, isSample, isAnimation = false) {
    this.file = file;
    this.name = name;
    this.width = width;
    this.height = height;
    this.isSample = isSample;
    this.isAnimation = isAnimation;
    this.sentSide = this.longestSide; // smaller where the server refuses the whole
    this.url = URL.createObjectURL(file);
  }

  get longestSide() {
    return Math.max(this.width, this.height);
  }

  /** Send a smaller copy from now on. */
  shrink() {
    this.sentSide = Math.min(LARGEST_COPY, Math.floor(this.sentSide * 0.7));
  }

  /** Return a copy whose longest side has at most `side` pixels, as a Blob. */
  copy(side) {
    if (!this.#copies.has(side)) this.#copies.set(side, this.#reduce(side));
    return this.#copies.get(side);
  }

  async #reduce(side) {
    const scale = side / this.longestSide;
    if (!this.width || scale >= 1) return this.file;
    const resizeWidth = Math.max(1, Math.round(this.width * scale));
    const resizeHeight = Math.max(1, Math.round(this.height * scale));
    const bitmap = await createImageBitmap(this.file, { resizeWidth, resizeHeight, resizeQuality: "high" });
    const canvas = document.createElement("canvas");
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    const type = this.file.type === "image/jpeg" ? "image/jpeg" : "image/png"; // PNG keeps alpha
    return new Promise((resolve) => canvas.toBlob((blob) => resolve(blob ?? this.file), type, 0.92));
  }

  close() {
    URL.revokeObjectURL(this.url);
  }
}

/** Open a file of the user's. */
export async function openPhoto(file, isSample = false) {
  const isAnimation = hasFrames(file); // while the browser decodes it
  let width = 0;
  let height = 0;
  try {
    const bitmap = await createImageBitmap(file);
    ({ width, height } = bitmap);
    bitmap.close();
  } catch {
    // The browser does not know the format. The server may.
  }
  const name = (file.name ?? "").replace(/\.[^.]*$/, "") || "photo";
  return new Photo(file, name, width, height, isSample, await isAnimation);
}

/** Whether a file is an animation. Browsers that cannot count frames take every GIF for one. */
async function hasFrames(file) {
  if (!["image/gif", "image/png", "image/apng", "image/webp"].includes(file.type)) return false;
  try {
    const decoder = new ImageDecoder({ data: await file.arrayBuffer(), type: file.type });
    await decoder.completed;
    const { frameCount } = decoder.tracks.selectedTrack;
    decoder.close();
    return frameCount > 1;
  } catch {
    return file.type === "image/gif";
  }
}

/** Open the sample picture. */
export async function openSample() {
  const response = await fetch(SAMPLE);
  const file = new File([await response.blob()], "sample.jpg", { type: "image/jpeg" });
  return openPhoto(file, true);
}
