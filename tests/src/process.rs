//! The `waypost` program as a process of its own.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// The environment variable that makes `waypost-under-test` something else than `waypost`.
pub const UNDER_TEST: &str = "WAYPOST_UNDER_TEST";
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A server process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    services: BTreeMap<String, Vec<SocketAddr>>,
    log: Arc<Mutex<String>>,
    reader: tokio::task::JoinHandle<()>,
}

impl Process {
    /// Starts `program serve` and waits for its `ready` line.
    pub async fn serve(program: &Path, config: &Path) -> Self {
        Self::try_serve(program, config, "")
            .await
            .unwrap_or_else(|said| panic!("the server did not start:\n{said}"))
    }

    /// The same with what `WAYPOST_UNDER_TEST` says. Error: it ended before it was ready; what it said.
    pub async fn try_serve(program: &Path, config: &Path, under_test: &str) -> Result<Self, String> {
        let mut command = Command::new(program);
        command
            .args(["serve", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if !under_test.is_empty() {
            command.env(UNDER_TEST, under_test);
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let ready = timeout(START_TIMEOUT, async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some(ready) = line.strip_prefix("ready ") {
                    return Ok(ready.to_owned());
                }
                said.push_str(&line);
                said.push('\n');
            }
            Err(std::mem::take(&mut said))
        });
        let ready = ready.await.unwrap_or_else(|_| panic!("no ready line within {START_TIMEOUT:?}"))?;
        let mut services: BTreeMap<String, Vec<SocketAddr>> = BTreeMap::new();
        for (name, address) in ready.split(' ').map(|service| service.split_once('=').unwrap()) {
            services.entry(name.to_owned()).or_default().push(address.parse().unwrap());
        }
        let log = Arc::new(Mutex::new(said));
        let kept = log.clone();
        let reader = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                kept.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        Ok(Self { child, services, log, reader })
    }

    /// The addresses of a service, in the order of the configuration.
    pub fn service(&self, name: &str) -> &[SocketAddr] {
        &self.services[name]
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Its anonymous memory now, in KiB.
    pub fn memory_kib(&self) -> u64 {
        memory_kib(self.id()).unwrap()
    }

    /// How many file descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    /// Sends a signal by its name (`TERM`, `HUP`).
    pub async fn signal(&self, name: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().await.unwrap().success());
    }

    /// Waits until the log holds a text.
    pub async fn logs(&self, text: &str) {
        for _ in 0..200 {
            if self.log.lock().unwrap().contains(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the log does not hold {text:?}:\n{}", self.log.lock().unwrap());
    }

    /// How many lines of the log hold a text.
    pub fn count(&self, text: &str) -> usize {
        self.log.lock().unwrap().lines().filter(|line| line.contains(text)).count()
    }

    /// kill -9, and waits until it is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits for its end: exit code and log.
    pub async fn end(mut self) -> (Option<i32>, String) {
        let status = timeout(START_TIMEOUT, self.child.wait()).await.expect("the server ends").unwrap();
        self.reader.await.unwrap();
        let log = self.log.lock().unwrap().clone();
        (status.code(), log)
    }
}

/// The anonymous memory of a process in KiB; `None`: it is gone.
pub fn memory_kib(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// The program that belongs to these tests.
pub fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().parent().unwrap().join("waypost-under-test");
    assert!(program.exists(), "{} is built with these tests", program.display());
    program
}
