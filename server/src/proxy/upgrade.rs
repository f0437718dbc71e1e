//! Connections that go on as something else than HTTP, such as WebSockets.

use std::sync::Arc;

use http::header::{CONNECTION, UPGRADE};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use crate::app::App;
use crate::http::{Request, Tunnel};

/// The client's side of what will be joined.
pub(super) struct Client {
    upgrade: OnUpgrade,
    tunnel: Tunnel,
}

/// The client's side, if the request asks for another protocol and its connection can give way to one.
pub(super) fn wanted(request: &mut Request) -> Option<Client> {
    let asks = request.headers.contains_key(UPGRADE)
        && request
            .headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|name| name.trim().eq_ignore_ascii_case("upgrade")));
    let (upgrade, peer) = request.upgrade.take().filter(|_| asks)?;
    Some(Client { upgrade, tunnel: peer.into_tunnel() })
}

impl Client {
    /// Joins the two connections once both have given way, until one of them ends or the server stops.
    pub(super) fn join(self, answer: &mut hyper::Response<Incoming>, app: Arc<App>) {
        let server = hyper::upgrade::on(answer);
        tokio::spawn(async move {
            let joined = async {
                let (client, server) = tokio::try_join!(self.upgrade, server)?;
                let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                copy_bidirectional(&mut client, &mut server)
                    .await
                    .map_err(Box::<dyn std::error::Error + Send + Sync>::from)
            };
            tokio::select! {
                () = app.stopping() => {}
                ended = joined => if let Err(error) = ended {
                    tracing::debug!(%error, "an upgraded connection ended early");
                }
            }
            drop(self.tunnel);
        });
    }
}
