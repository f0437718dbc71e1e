//! One run of the server, from the command line to the last checkpoint.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser as _;
use settee_server::cli::Cli;
use settee_server::startup::Ending;
use settee_server::{allocator, logging, restart, startup};

fn main() -> ExitCode {
    allocator::prepare();
    match run(Cli::parse()) {
        Ok(code) => code,
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

fn run(cli: Cli) -> Result<ExitCode, Box<dyn Error>> {
    let cli = cli.with_environment()?;
    match &cli.command {
        Some(command) => Ok(command.run(&cli)),
        None => match serve(&cli)? {
            Ending::Stopped => Ok(ExitCode::SUCCESS),
            Ending::Restart { port } => match restart::restart(port)? {},
        },
    }
}

fn serve(cli: &Cli) -> Result<Ending, Box<dyn Error>> {
    let config = startup::configuration(cli)?;
    let data_dir = startup::data_dir(cli, &config)?;
    logging::start(cli, &config)?;
    startup::report(&config);
    let databases = startup::open_databases(&data_dir, &config)?;
    let first_admin = startup::prepare_accounts(cli, &config)?;
    startup::serve(config, databases, first_admin)
}
