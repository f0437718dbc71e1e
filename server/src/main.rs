//! One run of the server, from the command line to the last checkpoint.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser as _;
use settee_server::cli::Cli;
use settee_server::startup;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(command) = &cli.command {
        return command.run();
    }
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("settee: {error}");
            let mut cause = error.source();
            while let Some(deeper) = cause {
                eprint!(": {deeper}");
                cause = deeper.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<(), Box<dyn Error>> {
    let (data_dir, config) = startup::configuration(cli)?;
    startup::log_to_stderr(cli, &config);
    let databases = startup::open_databases(&data_dir, &config)?;
    let first_admin = startup::prepare_accounts(cli, &config)?;
    startup::serve(config, databases, first_admin)
}
