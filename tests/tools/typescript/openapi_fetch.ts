// Paints photo.jpg as painted.png, and prints the styles and the code of an error.
import { readFile, writeFile } from "node:fs/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Options = paths["/stylize"]["post"]["requestBody"]["content"]["multipart/form-data"];

const client = createClient<paths>({ baseUrl: process.argv[2] });
const image = new Blob([await readFile("photo.jpg")]);

function stylize(body: Options) {
  return client.POST("/stylize", {
    body,
    bodySerializer(options) {
      const form = new FormData();
      for (const [name, value] of Object.entries(options)) {
        form.append(name, value instanceof Blob ? value : String(value));
      }
      return form;
    },
    parseAs: "blob",
    signal: AbortSignal.timeout(60_000),
  });
}

const { data: list } = await client.GET("/styles");
const { data: painted } = await stylize({ image, style: "warm", strength: 0.5, format: "png" });
const { error } = await stylize({ image, style: "nope" });
if (!list || !painted || !error) throw new Error("unexpected response");
const problem: components["schemas"]["Problem"] = error;
await writeFile("painted.png", Buffer.from(await painted.arrayBuffer()));
console.log(JSON.stringify({ styles: list.styles.map((style) => style.id), code: problem.code }));
