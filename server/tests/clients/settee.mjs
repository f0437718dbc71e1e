// Starts, kills and restarts a real settee on a folder of its own, and compares what clients hold with it.
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import assert from 'node:assert/strict';

const START_MS = 20_000;

/** A free port of the loopback interface. */
function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

export class Settee {
  static async start() {
    const binary = process.env.SETTEE_BIN;
    assert.ok(binary, 'SETTEE_BIN must name the settee binary to test');
    const server = new Settee();
    server.binary = binary;
    server.data = mkdtempSync(join(tmpdir(), 'settee-clients-'));
    server.port = await freePort();
    await server.launch();
    return server;
  }

  get url() { return `http://admin:secret@127.0.0.1:${this.port}`; }
  get origin() { return `http://127.0.0.1:${this.port}`; }

  async launch() {
    const args = ['--data-dir', this.data, '--bind', '127.0.0.1', '--port', String(this.port)];
    const env = { ...process.env, COUCHDB_USER: 'admin', COUCHDB_PASSWORD: 'secret' };
    delete env.PORT;
    this.output = '';
    this.process = spawn(this.binary, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream.on('data', text => { this.output = (this.output + text).slice(-20_000); });
    }
    this.exited = new Promise(resolve => this.process.once('exit', resolve));
    const end = Date.now() + START_MS;
    for (;;) {
      try { if ((await fetch(`${this.origin}/_up`)).ok) return; } catch { /* not listening yet */ }
      assert.ok(this.process.exitCode === null, `settee ended at start:\n${this.output}`);
      assert.ok(Date.now() < end, `settee did not come up:\n${this.output}`);
      await sleep(20);
    }
  }

  /** SIGKILL: no goodbye, no flush. */
  async kill() {
    this.process.kill('SIGKILL');
    await this.exited;
  }

  async restart() {
    await this.kill();
    await this.launch();
  }

  /** SIGTERM, as a service manager stops it; it must end by itself. */
  async stop() {
    if (this.process.exitCode === null && this.process.signalCode === null) this.process.kill('SIGTERM');
    const code = await Promise.race([this.exited, sleep(15_000, 'still running', { ref: false })]);
    if (code === 'still running') this.process.kill('SIGKILL');
    rmSync(this.data, { recursive: true, force: true });
    assert.equal(code, 0, `settee did not end cleanly:\n${this.output}`);
  }

  /** One request with the administrator's rights; the answer as JSON. */
  async json(method, path, body, headers = {}) {
    const answer = await this.fetch(method, path, body, headers);
    const text = await answer.text();
    assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
    return JSON.parse(text);
  }

  fetch(method, path, body, headers = {}) {
    const authorization = 'Basic ' + Buffer.from('admin:secret').toString('base64');
    const json = body !== undefined && !(body instanceof Uint8Array);
    return fetch(this.origin + path, {
      method,
      headers: { authorization, accept: 'application/json', ...(json && { 'content-type': 'application/json' }), ...headers },
      body: json ? JSON.stringify(body) : body,
    });
  }
}

/** Waits until the check stops throwing. */
export async function eventually(check, ms = 30_000) {
  const end = Date.now() + ms;
  for (;;) {
    try { return await check(); } catch (error) {
      if (Date.now() > end) throw error;
      await sleep(50);
    }
  }
}

/** Everything that replication carries of a database, in a form that can be compared: leaf revisions with
 *  their histories, deletion marks, bodies and attachment digests, by id. */
export async function contents(db) {
  const { rows } = await db.allDocs();
  const changes = await db.changes({ style: 'all_docs' });
  const ids = new Set([...rows.map(row => row.id), ...changes.results.map(row => row.id)]);
  const all = {};
  for (const id of [...ids].sort()) {
    const leaves = await db.get(id, { open_revs: 'all', revs: true });
    all[id] = Object.fromEntries(leaves.map(({ ok }) => {
      const { _attachments = {}, ...body } = ok;
      const digests = Object.fromEntries(Object.entries(_attachments)
        .map(([name, { digest, length, content_type }]) => [name, { digest, length, content_type }]));
      return [ok._rev, { body, digests }];
    }).sort());
  }
  return all;
}
