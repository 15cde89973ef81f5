//! The program `brindle-agent`.

fn main() -> std::process::ExitCode {
    brindle_agent::cli::main()
}
