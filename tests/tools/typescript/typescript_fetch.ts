// Paints photo.jpg as painted.png, and prints the styles and the code of an error.
import { readFile, writeFile } from "node:fs/promises";
import { Configuration, PicturesApi, ResponseError, StylesApi } from "./client/index.js";

const configuration = new Configuration({ basePath: process.argv[2] });
const pictures = new PicturesApi(configuration);
const image = new Blob([await readFile("photo.jpg")]);
const signal = AbortSignal.timeout(60_000);

const { styles } = await new StylesApi(configuration).listStyles();
const painted = await pictures.stylize(
  { image, style: "warm", strength: 0.5, format: "png" },
  { signal },
);
await writeFile("painted.png", Buffer.from(await painted.arrayBuffer()));
const error: unknown = await pictures.stylize({ image, style: "nope" }).catch((error) => error);
if (!(error instanceof ResponseError)) throw error;
const { code } = await error.response.json();
console.log(JSON.stringify({ styles: styles.map((style) => style.id), code }));
