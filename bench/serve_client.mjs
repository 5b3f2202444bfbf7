// Uses phi2 serve with the vendor's client for Node; bench/serve_clients.py starts it.
//
//     node serve_client.mjs URL MODEL
import OpenAI from "openai";
import { readFileSync } from "node:fs";

const [url, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "Explain tides." }];
const checks = {
  chat: async () => (await client.chat.completions.create({ model, messages })).choices[0].message,
  "stream with usage": async () => {
    let text = "", usage;
    const stream_options = { include_usage: true };
    const stream = await client.chat.completions.create({ model, messages, stream: true, stream_options });
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? "";
      usage = chunk.usage ?? usage;
    }
    return text && usage.completion_tokens;
  },
  "echo with logprobs": async () => {
    const body = { model, prompt: "The moon", max_tokens: 1, echo: true, logprobs: 1 };
    return (await client.completions.create(body)).choices[0].logprobs.token_logprobs[1];
  },
  models: async () => (await client.models.retrieve(model)).id === model,
  errors: async () => {
    try {
      await client.completions.create({ model: "none", prompt: "x" });
    } catch (error) {
      return error instanceof OpenAI.NotFoundError && error.code === "model_not_found";
    }
  },
};
const { version } = JSON.parse(readFileSync("node_modules/openai/package.json"));
const found = { version, checks: {} };
for (const [name, check] of Object.entries(checks)) {
  try {
    found.checks[name] = (await check()) ? "works" : "no answer";
  } catch (error) {
    found.checks[name] = String(error).slice(0, 200);
  }
}
console.log(JSON.stringify(found));
