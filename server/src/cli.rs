//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, Parser};

use crate::commands::Command;
use crate::config::secrets;

/// What one run of the server is told.
#[derive(Clone, Debug, Parser)]
#[command(name = "settee", version, about = ABOUT, max_term_width = 100, after_help = AFTER_HELP)]
#[command(disable_help_flag = true, next_line_help = true)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
#[command(subcommand_help_heading = "Commands (without one, the server runs)")]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Folder of the databases, and of local.ini; made if it isn't there [default: data]
    #[arg(long, value_name = "DIR", env = "SETTEE_DATA_DIR", global = true)]
    pub data_dir: Option<PathBuf>,

    /// Address to listen on, such as 0.0.0.0 for all of this machine's [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR", env = "SETTEE_BIND")]
    pub bind: Option<String>,

    /// Port to listen on; 0 takes any free one [default: 5984]
    #[arg(long, value_name = "N", env = "PORT")]
    pub port: Option<u16>,

    /// Configuration file in CouchDB's ini format, or a folder with local.ini and local.d/*.ini; later
    /// ones win, and changes made over HTTP are written to the last [default: DIR]
    #[arg(long, value_name = "PATH", global = true)]
    pub config: Vec<PathBuf>,

    /// Log warnings and errors only
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Log more; twice for everything
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,

    /// Print this help
    #[arg(short, long, action = ArgAction::HelpShort)]
    help: Option<bool>,

    /// An administrator, together with COUCHDB_PASSWORD
    #[arg(skip)]
    pub admin_name: Option<String>,

    /// The administrator's password
    #[arg(skip)]
    pub admin_password: Option<String>,

    /// What session cookies are signed with
    #[arg(skip)]
    pub cookie_secret: Option<String>,
}

const ABOUT: &str = "\
Settee, a document database that speaks the CouchDB HTTP API.

Without any option it keeps its databases in ./data and listens on 127.0.0.1:5984. If no
administrator is configured yet, one is made, and its password is printed once.";

const AFTER_HELP: &str = "\
Environment:
  COUCHDB_USER, COUCHDB_PASSWORD  make this administrator, or change its password
  COUCHDB_SECRET                  signs session cookies; made at random and stored if not given
  COUCHDB_PASSWORD_FILE, ...      each of the three may be in a file instead
  SETTEE_LOG                      what to log, such as settee::access=off,debug

Options override the environment, which overrides configuration files.";

impl Cli {
    /// Adds the secrets that the environment gives, each in a variable or in a file.
    ///
    /// # Errors
    ///
    /// When a file can't be read, or one is given twice.
    pub fn with_environment(mut self) -> Result<Self, String> {
        self.admin_name = secrets::from_environment("COUCHDB_USER")?;
        self.admin_password = secrets::from_environment("COUCHDB_PASSWORD")?;
        self.cookie_secret = secrets::from_environment("COUCHDB_SECRET")?;
        Ok(self)
    }

    /// The options that stand above all configuration files: section, key, value.
    pub fn overrides(&self) -> Vec<(String, String, String)> {
        let given = [
            ("chttpd", "bind_address", self.bind.clone()),
            ("chttpd", "port", self.port.map(|port| port.to_string())),
            ("chttpd_auth", "secret", self.cookie_secret.clone()),
        ];
        let given =
            given.into_iter().filter_map(|(section, key, value)| Some((section, key, value?)));
        given.map(|(section, key, value)| (section.to_owned(), key.to_owned(), value)).collect()
    }

    /// The administrator that the environment names.
    pub fn admin(&self) -> Option<(&str, &str)> {
        let (name, password) = (self.admin_name.as_deref()?, self.admin_password.as_deref()?);
        (!name.is_empty() && !password.is_empty()).then_some((name, password))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::commands::{config::Action, service::Example};

    #[test]
    fn the_command_line_contradicts_nothing() {
        Cli::command().debug_assert();
    }

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(line.split(' ')).unwrap()
    }

    #[test]
    fn options_are_understood() {
        let cli =
            parse("settee --data-dir d --bind ::1 --port 0 --config a.ini --config b.ini -vv");
        assert_eq!(cli.data_dir, Some("d".into()));
        assert_eq!(cli.config, [PathBuf::from("a.ini"), "b.ini".into()]);
        assert_eq!(cli.verbose, 2);
        let overrides = cli.overrides();
        assert!(overrides.contains(&("chttpd".into(), "port".into(), "0".into())));
        assert!(overrides.contains(&("chttpd".into(), "bind_address".into(), "::1".into())));
    }

    #[test]
    fn commands_are_understood() {
        let cli = parse("settee config check --config a.ini");
        assert!(matches!(cli.command, Some(Command::Config(Action::Check))));
        assert_eq!(cli.config, [PathBuf::from("a.ini")]);
        let cli = parse("settee service systemd");
        assert!(matches!(cli.command, Some(Command::Service { kind: Example::Systemd })));
    }

    #[test]
    fn nonsense_is_refused() {
        for line in ["settee --port http", "settee --port 70000", "settee -q -v", "settee x"] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }

    #[test]
    fn an_admin_needs_name_and_password() {
        let mut cli = parse("settee");
        cli.admin_name = Some("anna".into());
        cli.admin_password = None;
        assert_eq!(cli.admin(), None);
        cli.admin_password = Some("secret".into());
        assert_eq!(cli.admin(), Some(("anna", "secret")));
    }
}
