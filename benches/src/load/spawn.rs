//! Starts a settee of one's own on an empty folder.

use std::{
    net::TcpListener,
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::process::{Child, Command};

use crate::{Outcome, client::Target};

/// A running settee, ended with this value.
pub(crate) struct Server {
    binary: String,
    port: u16,
    child: Child,
    /// Its address with the administrator's name and password.
    pub(crate) url: String,
    folder: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start(binary: &str) -> Outcome<Self> {
        // In the present folder rather than the system's temporary one, which may be memory.
        let folder = tempfile::Builder::new().prefix("settee-load-").tempdir_in(".")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let url = format!("http://admin:pass@127.0.0.1:{port}");
        let child = launch(binary, port, &folder)?;
        let server = Server { binary: binary.to_owned(), port, child, url, folder };
        server.is_up().await?;
        Ok(server)
    }

    /// Waits until it answers.
    async fn is_up(&self) -> Outcome<()> {
        let target = Target::parse(&self.url)?;
        for _ in 0..5000 {
            if let Ok(mut client) = target.connect().await
                && client.ok("GET", "/_up", b"").await.is_ok()
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Err("the server did not come up within 10 s".into())
    }

    /// Kills it and starts it again on what it left; returns how long it took to come up.
    pub(crate) async fn restart(&mut self) -> Outcome<Duration> {
        self.child.kill().await?;
        let started = Instant::now();
        self.child = launch(&self.binary, self.port, &self.folder)?;
        self.is_up().await?;
        Ok(started.elapsed())
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    pub(crate) async fn stop(mut self) -> Outcome<()> {
        Ok(self.child.kill().await?)
    }
}

fn launch(binary: &str, port: u16, folder: &tempfile::TempDir) -> Outcome<Child> {
    Ok(Command::new(binary)
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--data-dir"])
        .arg(folder.path())
        .env("COUCHDB_USER", "admin")
        .env("COUCHDB_PASSWORD", "pass")
        .env("RUST_LOG", "warn")
        .env_remove("PORT")
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?)
}
