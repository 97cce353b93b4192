// The elements of the page by their ids in camel case, and small helpers.

const camel = (id) => id.replace(/-(\w)/g, (_, letter) => letter.toUpperCase());

export const dom = Object.fromEntries([...document.querySelectorAll("[id]")].map((e) => [camel(e.id), e]));

/** Create an element with properties and children. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  const { attributes = {}, ...others } = properties;
  Object.assign(made, others);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Save a blob as a file. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = element("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Show a blob in an image, and free the one shown before. Resolves when it is decoded. */
export async function showBlob(image, blob) {
  const previous = image.dataset.url;
  const url = URL.createObjectURL(blob);
  image.dataset.url = url;
  image.src = url;
  await image.decode().catch(() => {});
  if (previous) URL.revokeObjectURL(previous);
}

const EXTENSIONS = { "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/avif": "avif", "image/gif": "gif" };

export const extension = (blob) => EXTENSIONS[blob.type] ?? "img";

/** Describe the device in the X-Device header, such as `cpu;provider=X;precision=float32`. */
export function describeDevice(header) {
  const [name, ...parameters] = header.split(";");
  const values = Object.fromEntries(parameters.map((p) => p.split("=")));
  const provider = (values.provider ?? "").replace("ExecutionProvider", "");
  const parts = [provider === "CPU" ? "" : provider, values.precision ?? ""].filter(Boolean);
  const shown = { cpu: "CPU", cuda: "GPU" }[name] ?? name;
  return parts.length ? `${shown} (${parts.join(", ")})` : shown;
}

export const describeSeconds = (seconds) => (seconds < 10 ? `${seconds.toFixed(2)} s` : `${Math.round(seconds)} s`);
