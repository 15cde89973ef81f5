//! The program `brindlectl`.

fn main() -> std::process::ExitCode {
    brindle_ctl::main()
}
