// The API's routes from openapi.json. Nothing is loaded from elsewhere: this page may hold the token.
const page = document.querySelector("#routes");

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

const schemaName = (schema) => schema?.$ref?.split("/").pop() ?? schema?.title ?? schema?.type ?? "";

function bodyOf(operation) {
  return schemaName(operation.requestBody?.content?.["application/json"]?.schema);
}

function describe(type) {
  if (type.$ref) return type.$ref.split("/").pop();
  if (type.anyOf) return type.anyOf.map(describe).join(" or ");
  if (type.enum) return type.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (type.type === "array") return `list of ${describe(type.items ?? {})}`;
  return type.type ?? "any";
}

function route(path, method, operation) {
  const box = element("details", "task");
  const name = element("code", "", `${method.toUpperCase()} ${path}`);
  const about = operation.description ?? operation.summary ?? "";
  box.append(element("summary", "", name, element("span", "query", about)));
  const lines = element("ol", "events");
  for (const parameter of operation.parameters ?? []) {
    lines.append(element("li", "", element("b", "", `${parameter.in} ${parameter.name}`), ` ${describe(parameter.schema ?? {})}`));
  }
  if (bodyOf(operation)) lines.append(element("li", "", element("b", "", "body "), bodyOf(operation)));
  for (const [status, answer] of Object.entries(operation.responses ?? {})) {
    lines.append(element("li", "", element("b", "", `${status} `), answer.description ?? ""));
  }
  box.append(lines);
  return box;
}

function model(name, schema) {
  const box = element("details", "task");
  box.append(element("summary", "", element("code", "", name), element("span", "query", schema.description ?? "")));
  const lines = element("ol", "events");
  for (const [field, type] of Object.entries(schema.properties ?? {})) {
    const needed = schema.required?.includes(field) ? " (required)" : "";
    lines.append(element("li", "", element("b", "", field), ` ${describe(type)}${needed}`));
  }
  for (const value of schema.enum ?? []) lines.append(element("li", "", String(value)));
  box.append(lines);
  return box;
}

try {
  const api = await (await fetch("openapi.json")).json();
  page.replaceChildren(element("h2", "", "Routes"));
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) page.append(route(path, method, operation));
  }
  page.append(element("h2", "", "Bodies"));
  for (const [name, schema] of Object.entries(api.components?.schemas ?? {})) page.append(model(name, schema));
} catch (problem) {
  page.textContent = problem.message;
}
