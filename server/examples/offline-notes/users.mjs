// Who is registered: in PostgreSQL when DATABASE_URL names one, or else in memory until the server ends.
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

const derive = promisify(scrypt);
const KEY_BYTES = 32;

const hash = async (password, salt) => (await derive(password, salt, KEY_BYTES)).toString('hex');

class Memory {
  #rows = new Map();
  async insert(name, salt, key) {
    if (this.#rows.has(name)) return false;
    this.#rows.set(name, { salt, key });
    return true;
  }
  async find(name) { return this.#rows.get(name); }
  async remove(name) { this.#rows.delete(name); }
  async close() {}
}

class Postgres {
  #pool;
  constructor(pool) { this.#pool = pool; }

  static async open(url) {
    const { default: pg } = await import('pg');
    const pool = new pg.Pool({ connectionString: url, max: 5 });
    // A connection that breaks while nobody uses it is replaced when the next one is needed.
    pool.on('error', error => console.error('a connection to PostgreSQL broke:', error.message));
    await pool.query(`create table if not exists notes_users (
      name text primary key, salt text not null, key text not null, registered timestamptz not null default now())`);
    return new Postgres(pool);
  }

  async insert(name, salt, key) {
    const { rowCount } = await this.#pool.query(
      'insert into notes_users (name, salt, key) values ($1, $2, $3) on conflict do nothing', [name, salt, key]);
    return rowCount === 1;
  }

  async find(name) {
    const { rows } = await this.#pool.query('select salt, key from notes_users where name = $1', [name]);
    return rows[0];
  }

  async remove(name) { await this.#pool.query('delete from notes_users where name = $1', [name]); }
  async close() { await this.#pool.end(); }
}

export class Users {
  #store;
  constructor(store) { this.#store = store; }

  static async open(url) {
    return new Users(url ? await Postgres.open(url) : new Memory());
  }

  /** Registers a new user; false when the name is taken. */
  async register(name, password) {
    const salt = randomBytes(16).toString('hex');
    return this.#store.insert(name, salt, await hash(password, salt));
  }

  /** Whether there is such a user with this password. An unknown name takes as long as a known one. */
  async verify(name, password) {
    const row = await this.#store.find(name) ?? { salt: 'nobody', key: '00'.repeat(KEY_BYTES) };
    const key = Buffer.from(await hash(password, row.salt), 'hex');
    return timingSafeEqual(key, Buffer.from(row.key, 'hex'));
  }

  /** Takes a registration back that could not be completed. */
  remove(name) { return this.#store.remove(name); }
  close() { return this.#store.close(); }
}
