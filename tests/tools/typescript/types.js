// Writes api.ts, the types of openapi.json. A file is a Blob; without `transform` it is a string.
import { readFile, writeFile } from "node:fs/promises";
import openapiTypescript, { astToString } from "openapi-typescript";
import ts from "typescript";

const blob = ts.factory.createTypeReferenceNode("Blob");
const types = await openapiTypescript(JSON.parse(await readFile("openapi.json", "utf-8")), {
  transform: (schema) => (schema.format === "binary" ? blob : undefined),
});
await writeFile("api.ts", astToString(types));
