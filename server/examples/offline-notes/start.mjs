// One command for all of it: Settee, configured for the application, and the application's own server.
//
//   npm start                          users in memory
//   DATABASE_URL=postgres://… npm start    users in PostgreSQL
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { serve } from './server.mjs';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const START_MS = 30_000;

/** The binary: SETTEE_BIN, or what cargo has built here, or the one in the PATH. */
function binary() {
  if (process.env.SETTEE_BIN) return process.env.SETTEE_BIN;
  const built = ['release', 'debug'].map(profile => join(ROOT, 'target', profile, 'settee'));
  return built.find(path => existsSync(path)) ?? 'settee';
}

/** Secrets are made once and kept beside the databases. */
function secrets(folder) {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, 'secrets.json');
  if (existsSync(path)) return JSON.parse(readFileSync(path, 'utf8'));
  const made = { password: randomBytes(16).toString('hex'), secret: randomBytes(32).toString('hex') };
  writeFileSync(path, JSON.stringify(made));
  chmodSync(path, 0o600);
  return made;
}

const configuration = origin => `\
; Written at each start of the example.
[chttpd]
enable_cors = true
authentication_handlers = {chttpd_auth, proxy_authentication_handler}, {chttpd_auth, cookie_authentication_handler}, {chttpd_auth, default_authentication_handler}

[chttpd_auth]
; Only who knows the secret can say who a user is.
proxy_use_secret = true

[cors]
origins = ${origin}
credentials = true
methods = GET, PUT, POST, HEAD, DELETE
headers = accept, authorization, content-type, origin, referer, x-auth-couchdb-username, x-auth-couchdb-roles, x-auth-couchdb-token
`;

function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer().once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

async function startSettee({ folder, port, origin, secret, password }) {
  const ini = join(folder, 'example.ini');
  writeFileSync(ini, configuration(origin));
  const local = join(folder, 'local.ini');
  const child = spawn(binary(), ['--data-dir', folder, '--bind', '127.0.0.1', '--port', String(port), '--config', ini, '--config', local], {
    env: { ...process.env, COUCHDB_USER: 'admin', COUCHDB_PASSWORD: password, COUCHDB_SECRET: secret },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let log = '';
  child.stderr.on('data', text => { log = (log + text).slice(-20_000); });
  const exited = new Promise(resolve => child.once('exit', resolve).once('error', error => { log += error; resolve(); }));
  const url = `http://127.0.0.1:${port}`;
  for (const end = Date.now() + START_MS; ;) {
    try { if ((await fetch(`${url}/_up`)).ok) break; } catch { /* not listening yet */ }
    if (child.exitCode !== null || Date.now() > end || child.pid === undefined) throw new Error(`Settee did not start:\n${log}`);
    await new Promise(resolve => setTimeout(resolve, 20));
  }
  return { url, log: () => log, stop: async () => { child.kill('SIGTERM'); await exited; } };
}

/** Starts both. Ports of 0 take free ones. Resolves to { url, settee, stop }. */
export async function start({ folder, port = 3000, setteePort = 5984, database } = {}) {
  const made = secrets(folder);
  port ||= await freePort();
  setteePort ||= await freePort();
  const origin = `http://127.0.0.1:${port}`;
  const settee = await startSettee({ folder, port: setteePort, origin, ...made });
  try {
    const app = await serve({
      port, database,
      settee: { url: settee.url, name: 'admin', password: made.password, secret: made.secret },
    });
    return { url: app.url, settee, stop: async () => { await app.close(); await settee.stop(); } };
  } catch (error) {
    await settee.stop();
    throw error;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = fileURLToPath(new URL('./data/', import.meta.url));
  const running = await start({
    folder,
    port: Number(process.env.PORT ?? 3000),
    setteePort: Number(process.env.SETTEE_PORT ?? 5984),
    database: process.env.DATABASE_URL,
  });
  console.log(`Notes are on ${running.url}/ and sync with Settee on ${running.settee.url}/`);
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => running.stop().then(() => process.exit(0)));
}
