//! A real settee on a folder of its own: started, stopped, killed and started again; and a client
//! small enough to send what no proper client would.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod client;
pub(crate) mod issuer;
pub(crate) mod signers;
pub(crate) mod tokens;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use client::{Answer, Connection};

/// The administrator's name.
pub(crate) const ADMIN: &str = "admin";

/// The administrator's password.
pub(crate) const PASSWORD: &str = "secret";

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// Passwords hashed as slowly as in earnest would make every start take a second.
const LOCAL_INI: &str = "[chttpd_auth]\niterations = 100\n";

/// A running server; it is killed when this value goes.
pub(crate) struct Settee {
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    environment: Vec<(&'static str, &'static str)>,
    child: Option<Child>,
    address: String,
    /// What it said on standard output.
    said: Vec<String>,
}

impl Settee {
    /// Starts on a new folder, with an administrator, on a free port.
    pub(crate) fn start() -> Self {
        let environment = vec![("COUCHDB_USER", ADMIN), ("COUCHDB_PASSWORD", PASSWORD)];
        Self::start_with(LOCAL_INI, environment, &[])
    }

    /// Starts on a new folder with this configuration file, environment and further arguments.
    pub(crate) fn start_with(
        local_ini: &str,
        environment: Vec<(&'static str, &'static str)>,
        arguments: &[&str],
    ) -> Self {
        let folder = tempfile::Builder::new().prefix("settee-").tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        fs::write(folder.path().join("data/local.ini"), local_ini).unwrap();
        let mut server = Self {
            folder,
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            environment,
            child: None,
            address: String::new(),
            said: Vec::new(),
        };
        server.launch();
        server
    }

    /// Starts it (again) on the same folder; the port is another one.
    pub(crate) fn launch(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_settee"))
            .args(["--port", "0", "--data-dir"])
            .arg(self.data_dir())
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let first = told.recv_timeout(PATIENCE);
        let Ok(first) = first else {
            drop(child.kill());
            panic!("it did not start:\n{}", self.log());
        };
        let (_, address) = first.split_once("http://").unwrap();
        self.address = address.trim_end_matches('/').to_owned();
        self.said = vec![first];
        // What follows the first line is written together with it.
        while let Ok(line) = told.recv_timeout(Duration::from_millis(100)) {
            self.said.push(line);
        }
        self.child = Some(child);
    }

    /// Its folder; tests may put files of their own there.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder its databases are in.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.folder().join("log")
    }

    /// What it has logged, over all its lives.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// What it said on standard output since its last start.
    pub(crate) fn said(&self) -> &[String] {
        &self.said
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Its URL, without name and password.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its URL with the administrator's name and password.
    pub(crate) fn admin_url(&self) -> String {
        format!("http://{ADMIN}:{PASSWORD}@{}", self.address)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Ends it as a power cut would, as far as the process is concerned.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    #[cfg(unix)]
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.ask_to_stop();
        self.wait()
    }

    /// Asks it to end, without waiting.
    #[cfg(unix)]
    pub(crate) fn ask_to_stop(&self) {
        let pid = rustix::process::Pid::from_raw(self.pid().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            if started.elapsed() > PATIENCE {
                drop(child.kill());
                panic!("it did not end:\n{}", self.log());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it and starts it again on what it left.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.launch();
    }

    /// Waits until it is there again, after it was asked on this connection to restart by itself.
    pub(crate) fn is_back(&self, asked: &mut Connection) {
        let started = Instant::now();
        // It stops to listen before it closes its connections.
        while !asked.is_closed() || Connection::try_open(&self.address).is_err() {
            assert!(started.elapsed() < PATIENCE, "it did not come back:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(&self.address)
    }

    /// One request with the administrator's rights on a connection of its own; a body is sent as
    /// JSON.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.connect().ask(method, path, &[("Authorization", &admin_header())], body)
    }

    /// One request without credentials.
    pub(crate) fn ask_as_nobody(&self, method: &str, path: &str, body: &str) -> Answer {
        self.connect().ask(method, path, &[], body)
    }
}

impl Drop for Settee {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
        if thread::panicking() {
            eprintln!("what the server logged:\n{}", self.log());
        }
    }
}

/// The administrator's `Authorization` header.
pub(crate) fn admin_header() -> String {
    basic(ADMIN, PASSWORD)
}

/// An `Authorization` header.
pub(crate) fn basic(name: &str, password: &str) -> String {
    use base64::Engine as _;
    let pair = format!("{name}:{password}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

/// Says loudly that tests did not run. Where they must run, that is a failure.
pub(crate) fn skip(what: &str, why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what} cannot run: {why}");
    // Written past the test harness, which would swallow what a passing test prints.
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {what} did not run: {why} ***\n");
}
