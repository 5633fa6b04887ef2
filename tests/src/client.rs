//! Real mail clients as processes, with a time limit.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

/// Longest run of a client.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(60);

/// The Python with the libraries of `tests/clients/requirements.txt`, which `tests/run` installs.
pub fn python() -> PathBuf {
    installed("python/bin/python3")
}

/// The folder with the packages of `tests/clients/node`, which `tests/run` installs.
pub fn node_packages() -> PathBuf {
    installed("node/node_modules")
}

/// A path below `target` that `tests/run` makes. Panics where it is missing.
pub fn installed(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(path);
    assert!(path.exists(), "{} is missing; tests/run installs it", path.display());
    path
}

/// One run of a client.
#[derive(Debug)]
pub struct Client {
    name: String,
    command: Command,
    input: Vec<u8>,
}

/// What a client said.
#[derive(Debug)]
pub struct Output {
    /// Its exit code; -1 after a signal.
    pub code: i32,
    /// Standard output, then standard error.
    pub text: String,
}

impl Client {
    /// A program, with `home` as its home folder. Panics where it is not installed: `tests/run` installs what is needed.
    pub fn new(program: &str, home: &Path) -> Self {
        let mut command = Command::new(program);
        command
            .env("HOME", home)
            .env("LC_ALL", "C.UTF-8")
            .env("TERM", "xterm")
            .current_dir(home)
            .kill_on_drop(true);
        Self { name: program.to_owned(), command, input: Vec::new() }
    }

    /// Arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Standard input.
    #[must_use]
    pub fn input(mut self, octets: &[u8]) -> Self {
        self.input = octets.to_vec();
        self
    }

    /// Runs it, whatever its exit code.
    pub async fn output(mut self) -> Output {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self
            .command
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; tests/run installs it", self.name));
        let mut stdin = child.stdin.take().unwrap();
        let input = self.input;
        // A client that does not read its input is not at fault.
        tokio::spawn(async move { drop(stdin.write_all(&input).await) });
        let output = timeout(CLIENT_TIMEOUT, child.wait_with_output()).await;
        let output =
            output.unwrap_or_else(|_| panic!("{} did not end within {CLIENT_TIMEOUT:?}", self.name)).unwrap();
        let text = [output.stdout, output.stderr].concat();
        Output { code: output.status.code().unwrap_or(-1), text: String::from_utf8_lossy(&text).into_owned() }
    }

    /// Runs it; panics unless it ends with exit code 0. What it said.
    pub async fn run(self) -> String {
        let name = self.name.clone();
        let output = self.output().await;
        assert_eq!(output.code, 0, "{name} failed:\n{}", output.text);
        output.text
    }
}
