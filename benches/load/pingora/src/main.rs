//! The least that pingora's users write: one listener, round robin over the endpoints, upstream keep-alive, one worker
//! thread, no logs.
//!
//! usage: `corelane-bench-pingora LISTEN ENDPOINT...`

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::lb::LoadBalancer;
use pingora::lb::selection::RoundRobin;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;

/// As many as the other proxies keep.
const UPSTREAM_CONNECTIONS: usize = 256;

struct Balancer(Arc<LoadBalancer<RoundRobin>>);

#[async_trait]
impl ProxyHttp for Balancer {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        let endpoint = self.0.select(b"", UPSTREAM_CONNECTIONS);
        let endpoint = endpoint.ok_or_else(|| pingora::Error::new_str("no endpoint"))?;
        Ok(Box::new(HttpPeer::new(endpoint, false, String::new())))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut addresses = std::env::args().skip(1);
    let listen = addresses.next().ok_or("usage: corelane-bench-pingora LISTEN ENDPOINT...")?;
    let balancer = LoadBalancer::try_from_iter(addresses)?;
    let settings = ServerConf {
        threads: 1,
        work_stealing: false,
        upstream_keepalive_pool_size: UPSTREAM_CONNECTIONS,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, settings);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Balancer(Arc::new(balancer)));
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever()
}
