//! The `waypost` program once more, so that tests that need a process of its own have it built.

fn main() -> std::process::ExitCode {
    waypost_server::cli::run()
}
