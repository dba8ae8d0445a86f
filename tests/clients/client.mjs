// One GET through the proxy: node client.mjs WAY URL, the proxy in HTTPS_PROXY and HTTP_PROXY, the CA in NODE_EXTRA_CA_CERTS.
//   fetch, https    the runtime's own, which follow HTTPS_PROXY where NODE_USE_ENV_PROXY is understood
//   undici, agent   what programs use on older runtimes: undici's ProxyAgent for fetch, https-proxy-agent for https
//   absolute        what agents do for http: the proxy's address, and the whole URL as the path
import http from "node:http";
import https from "node:https";

const [way, url] = process.argv.slice(2);
const proxy = process.env.HTTPS_PROXY;

function get(options) {
  return new Promise((resolve, reject) => {
    (url.startsWith("https:") ? https : http)
      .get(url, options, (response) => {
        let body = "";
        response.on("data", (chunk) => (body += chunk));
        response.on("end", () => resolve({ status: response.statusCode, body }));
      })
      .on("error", reject);
  });
}

async function fetched(fetch, options) {
  const response = await fetch(url, options);
  return { status: response.status, body: await response.text() };
}

const ways = {
  fetch: () => fetched(globalThis.fetch, {}),
  https: () => get({}),
  undici: async () => {
    const { ProxyAgent, fetch } = await import("undici");
    const { username, password, origin } = new URL(proxy);
    const token = username ? `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}` : undefined;
    return fetched(fetch, { dispatcher: new ProxyAgent({ uri: origin, token }) });
  },
  agent: async () => {
    const { HttpsProxyAgent } = await import("https-proxy-agent");
    return get({ agent: new HttpsProxyAgent(proxy) });
  },
  absolute: () => {
    const { username, password, hostname, port } = new URL(proxy);
    const token = `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
    const headers = { Host: new URL(url).host, ...(username && { "Proxy-Authorization": token }) };
    return get({ hostname, port, path: url, headers });
  },
};

try {
  const { status, body } = await ways[way]();
  process.stdout.write(body);
  process.exit(status === 200 ? 0 : 1);
} catch (error) {
  for (let cause = error; cause; cause = cause.cause) console.error(cause.message);
  process.exit(1);
}
