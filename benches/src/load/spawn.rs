//! Starts a settee of one's own on an empty folder.

use std::{net::TcpListener, process::Stdio, time::Duration};

use tokio::process::{Child, Command};

use crate::{Outcome, client::Target};

/// A running settee, ended with this value.
pub(crate) struct Server {
    child: Child,
    /// Its address with the administrator's name and password.
    pub(crate) url: String,
    _folder: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start(binary: &str) -> Outcome<Self> {
        // In the present folder rather than the system's temporary one, which may be memory.
        let folder = tempfile::Builder::new().prefix("settee-load-").tempdir_in(".")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(binary)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--data-dir"])
            .arg(folder.path())
            .env("COUCHDB_USER", "admin")
            .env("COUCHDB_PASSWORD", "pass")
            .env("RUST_LOG", "warn")
            .env_remove("PORT")
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let url = format!("http://admin:pass@127.0.0.1:{port}");
        let target = Target::parse(&url)?;
        for _ in 0..500 {
            if let Ok(mut client) = target.connect().await
                && client.ok("GET", "/_up", b"").await.is_ok()
            {
                return Ok(Server { child, url, _folder: folder });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err("the server did not come up within 10 s".into())
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    pub(crate) async fn stop(mut self) -> Outcome<()> {
        Ok(self.child.kill().await?)
    }
}
