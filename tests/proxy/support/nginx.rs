//! A real nginx as the origin.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{Client, eventually, free_port, gate, process, sys};

/// A single-process nginx with a directory of its own; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Nginx {
    address: String,
    dir: TempDir,
    child: Option<Child>,
}

impl Nginx {
    /// Serves `@dir@/html`; `locations` goes into the server block, where `@dir@` is nginx's own directory.
    pub(crate) fn start(locations: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("corelane-nginx-").tempdir().unwrap();
        fs::create_dir(dir.path().join("html")).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let root = dir.path().to_str().unwrap();
        let config =
            CONFIG.replace("@locations@", locations).replace("@address@", &address).replace("@dir@", root);
        fs::write(dir.path().join("nginx.conf"), config).unwrap();
        let mut nginx = Self { address, dir, child: None };
        nginx.run();
        nginx
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Where a file of the site is.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("html").join(name)
    }

    /// Adds a file to the site.
    pub(crate) fn add(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.file(name), bytes).unwrap();
    }

    /// Runs nginx, again after [`Nginx::kill`], at the same address.
    pub(crate) fn run(&mut self) {
        gate::share();
        let mut command = Command::new(binary());
        sys::die_with_parent(&mut command);
        command.arg("-p").arg(self.dir.path()).arg("-c").arg(self.dir.path().join("nginx.conf"));
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("nginx runs (Debian package nginx-light)"));
        eventually("nginx listens", || {
            let ended = process::wait(self.child.as_mut().unwrap(), Duration::ZERO);
            let log = || fs::read_to_string(self.dir.path().join("log"));
            assert!(ended.is_none(), "nginx ended: {ended:?} {:?}", log());
            Client::try_connect(&self.address).is_ok()
        });
    }

    /// Stops nginx where it is: the kernel goes on taking connections and bytes for it.
    pub(crate) fn pause(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: i32) {
        sys::signal(self.child.as_ref().expect("it runs").id(), signal);
    }

    /// Ends nginx at once, with every connection that it has.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Debian keeps nginx where only root's PATH looks.
fn binary() -> &'static Path {
    let path = Path::new("/usr/sbin/nginx");
    if path.exists() { path } else { Path::new("nginx") }
}

const CONFIG: &str = "
daemon off;
# One process: killing it by its id leaves nothing behind.
master_process off;
pid @dir@/pid;
error_log stderr;
events { worker_connections 1024; }
http {
    access_log off;
    default_type application/octet-stream;
    keepalive_requests 1000000;
    client_max_body_size 0;
    client_body_temp_path @dir@/body;
    proxy_temp_path @dir@/proxy;
    fastcgi_temp_path @dir@/fastcgi;
    uwsgi_temp_path @dir@/uwsgi;
    scgi_temp_path @dir@/scgi;
    server {
        listen @address@ backlog=4096;
        root @dir@/html;
        @locations@
    }
}
";
