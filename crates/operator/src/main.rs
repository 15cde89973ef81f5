//! The program `brindle-operator`.

fn main() -> std::process::ExitCode {
    brindle_operator::cli::main()
}
