// The settings, and the fragment of the address in which they live.

export const DEFAULTS = { strength: 1, strokes: 4, colors: false, format: "jpeg" };
const FINEST = 2048; // pixels of the longest side at which the network paints
const STEPS_PER_HALVING = 4;

/** The size at which the network paints, for a position of the strokes slider. */
export const strokeSize = (strokes) => Math.round(FINEST * 2 ** (-strokes / STEPS_PER_HALVING));

export function defaults() {
  return {
    tab: "paint",
    styles: new Map(), // ids with their weights, 0 to 100
    ...DEFAULTS,
    isSample: false,
    texture: { style: "", width: 512, height: 512, seed: 1, variation: 0, isTileable: false, format: "png" },
  };
}

const number = (text, low, high, otherwise) => {
  const value = Number(text);
  return text && value >= low && value <= high ? value : otherwise;
};

/** Read a fragment such as `#style=udnie&strength=1.5`. Ignores what it does not understand. */
export function readAddress(fragment) {
  const values = new URLSearchParams(fragment.replace(/^#/, ""));
  const get = (name) => values.get(name) ?? "";
  const settings = defaults();
  if (["compare", "textures"].includes(get("tab"))) settings.tab = get("tab");
  for (const part of get("style").split(",").filter(Boolean)) {
    const [id, weight] = part.split(":");
    settings.styles.set(id, number(weight, 0, 100, 100));
  }
  settings.strength = number(get("strength"), 0, 2, settings.strength);
  settings.strokes = Math.round(number(get("strokes"), 0, 12, settings.strokes));
  settings.colors = get("colors") === "photo";
  settings.isSample = get("photo") === "sample";
  if (["png", "webp", "avif"].includes(get("format"))) settings.format = get("format");
  const texture = settings.texture;
  texture.style = get("texture");
  texture.width = Math.round(number(get("width"), 16, 16384, texture.width));
  texture.height = Math.round(number(get("height"), 16, 16384, texture.height));
  texture.seed = Math.round(number(get("seed"), 0, 4294967295, texture.seed));
  texture.variation = number(get("variation"), 0, 100, texture.variation);
  texture.isTileable = get("tileable") === "true";
  return settings;
}

/** Return the fragment for settings; what is at its default is left out. */
export function address(settings) {
  const found = {};
  const { texture } = settings;
  if (settings.tab !== "paint") found.tab = settings.tab;
  if (settings.tab === "textures") {
    const plain = defaults().texture;
    if (texture.style) found.texture = texture.style;
    for (const name of ["width", "height", "variation"]) {
      if (texture[name] !== plain[name]) found[name] = texture[name];
    }
    found.seed = texture.seed;
    if (texture.isTileable) found.tileable = "true";
  } else {
    if (settings.styles.size) found.style = blend(settings.styles);
    if (settings.strength !== DEFAULTS.strength) found.strength = settings.strength;
    if (settings.strokes !== DEFAULTS.strokes) found.strokes = settings.strokes;
    if (settings.colors) found.colors = "photo";
    if (![DEFAULTS.format, "animation"].includes(settings.format)) found.format = settings.format;
    if (settings.isSample) found.photo = "sample";
  }
  const pairs = Object.entries(found).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  return pairs.join("&").replaceAll("%3A", ":").replaceAll("%2C", ",");
}

/** Return the `style` option for ids with weights: an id, or a blend `a:70,b:30`. */
export function blend(styles) {
  if (styles.size === 1) return styles.keys().next().value;
  return [...styles].map(([id, weight]) => `${id}:${weight}`).join(",");
}
