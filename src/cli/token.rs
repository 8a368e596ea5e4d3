//! `portcullis token`: why a token is accepted or refused, and keys and tokens for development and
//! tests. Production tokens come from an identity provider.

mod inspect;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use dev_issuer::{Algorithm, Draft, Shape, SigningKey};
use serde_json::{Map, Value, json};
use settings::Span;

/// The private key's file name below `--out`, and the published set's.
const KEY_FILE: &str = "signing-key.json";
const JWKS_FILE: &str = "jwks.json";

/// Arguments of `portcullis token`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a signing key and the JWK set that publishes it (development and tests only)
    ///
    /// Writes signing-key.json, which only its owner can read, and jwks.json, which an `issuers:`
    /// entry can name as `jwks: {file: …}`. Neither is ever overwritten.
    Keygen(Keygen),
    /// Print a token signed with such a key (development and tests only)
    Mint(Mint),
    /// Say, claim by claim, why a token is accepted or refused
    Inspect(inspect::Inspect),
}

#[derive(clap::Args)]
struct Keygen {
    /// The signature algorithm: ES256 or RS256
    #[arg(long, default_value = "ES256")]
    alg: Algorithm,
    /// The key id [default: the key's thumbprint, RFC 7638]
    #[arg(long)]
    kid: Option<String>,
    /// The folder to write to; it is made if need be
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(clap::Args)]
struct Mint {
    /// The private key, as `keygen` writes it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The issuer (`iss`)
    #[arg(long)]
    iss: String,
    /// What kind of token: first_party, cognito, cognito-id or service
    #[arg(long, value_name = "KIND", default_value = "first_party")]
    kind: Shape,
    /// An audience (`aud`), or the app client of a Cognito token; may be repeated
    #[arg(long, required = true)]
    aud: Vec<String>,
    /// The subject (`sub`)
    #[arg(long)]
    sub: String,
    /// The user name of a Cognito token [default: the subject]
    #[arg(long)]
    username: Option<String>,
    /// A role or group (an element of `roles` or `cognito:groups`); may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A scope, or several separated by spaces (`scope`); may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// The user for whom a service acts (`act.sub`)
    #[arg(long, value_name = "SUB")]
    act: Option<String>,
    /// A scope of that user's (`act.scope`); may be repeated
    #[arg(long = "act-scope", value_name = "SCOPE", requires = "act")]
    act_scopes: Vec<String>,
    /// Any claim, its value in JSON, over all others: --claim 'email="a@example.com"'
    #[arg(long = "claim", value_name = "NAME=JSON", value_parser = parse_claim)]
    claims: Vec<(String, Value)>,
    /// How long the token is valid
    #[arg(long, default_value = "5m")]
    ttl: Span,
}

/// Runs the subcommand.
pub(crate) fn run(args: Args) -> ExitCode {
    let done = match args.command {
        Command::Keygen(keygen) => keygen.run(),
        Command::Mint(mint) => mint.run(),
        Command::Inspect(inspect) => return inspect.run(),
    };
    match done {
        Ok(text) => match writeln!(io::stdout().lock(), "{text}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => super::fail(super::EX_OSERR, &format!("cannot write: {error}")),
        },
        Err(message) => super::fail(1, &message),
    }
}

impl Keygen {
    /// Writes both files and says where they are.
    fn run(self) -> Result<String, String> {
        let (key_path, jwks_path) = (self.out.join(KEY_FILE), self.out.join(JWKS_FILE));
        for path in [&key_path, &jwks_path] {
            if path.exists() {
                return Err(format!(
                    "`{}` is there already and is left alone",
                    path.display()
                ));
            }
        }
        let made = |error: dev_issuer::Error| format!("cannot make the key: {error}");
        let key = SigningKey::generate(self.alg, "").map_err(made)?;
        let kid = self.kid.unwrap_or_else(|| key.thumbprint());
        let key = key.with_kid(&kid);
        let private = key.to_jwk_json().map_err(made)?;
        fs::create_dir_all(&self.out)
            .map_err(|error| format!("cannot make `{}`: {error}", self.out.display()))?;
        write_new(&key_path, 0o600, &private)?;
        write_new(&jwks_path, 0o644, &dev_issuer::jwks(&[&key]).to_string())?;
        Ok(format!("{}\n{}", key_path.display(), jwks_path.display()))
    }
}

impl Mint {
    /// Signs the token.
    fn run(self) -> Result<String, String> {
        let path = self.key.display();
        let text = fs::read_to_string(&self.key)
            .map_err(|error| format!("cannot read the key `{path}`: {error}"))?;
        let key = SigningKey::from_jwk_json(&text).map_err(|error| format!("`{path}`: {error}"))?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(|_| "this machine's clock is set before 1970".to_owned())?
            .as_secs();
        let token_id = random_id()?;
        Ok(key.sign_jwt(Map::new(), &self.claims(now, &token_id)))
    }

    fn claims(self, now: u64, token_id: &str) -> Value {
        let act = self.act.map(|subject| {
            if self.act_scopes.is_empty() {
                json!({ "sub": subject })
            } else {
                json!({ "sub": subject, "scope": self.act_scopes.join(" ") })
            }
        });
        let draft = Draft {
            issuer: self.iss,
            audiences: self.aud,
            subject: self.sub,
            username: self.username,
            groups: self.roles,
            scopes: self.scopes,
            token_id: token_id.to_owned(),
            issued_at: now,
            lifetime: self.ttl.0.as_secs(),
            act,
        };
        let mut claims = draft.claims(self.kind);
        claims.extend(self.claims);
        Value::Object(claims)
    }
}

fn parse_claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=JSON")?;
    let value = serde_json::from_str(value)
        .map_err(|error| format!("the value is no JSON (strings need quotes): {error}"))?;
    Ok((name.to_owned(), value))
}

/// Writes a file that must not be there yet.
fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), String> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| format!("cannot write `{}`: {error}", path.display()))
}

/// 128 random bits in hexadecimal.
fn random_id() -> Result<String, String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "the machine has no randomness".to_owned())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn run_args(args: &[&str]) -> Result<String, String> {
        let cli = Cli::try_parse_from([&["token"], args].concat()).map_err(|e| e.to_string())?;
        match cli.args.command {
            Command::Keygen(keygen) => keygen.run(),
            Command::Mint(mint) => mint.run(),
            Command::Inspect(_) => Err("runs by itself".to_owned()),
        }
    }

    #[test]
    fn a_key_is_made_once_and_its_tokens_carry_what_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("keys");
        let out = out.to_str().unwrap();
        for alg in ["ES256", "RS256"] {
            let out = &format!("{out}-{alg}");
            run_args(&["keygen", "--alg", alg, "--out", out]).unwrap();
            let key_file = Path::new(out).join(KEY_FILE);
            let key = fs::read_to_string(&key_file).unwrap();
            assert_eq!(
                fs::metadata(&key_file).unwrap().permissions().mode() & 0o777,
                0o600
            );
            assert!(run_args(&["keygen", "--alg", alg, "--out", out]).is_err());
            assert_eq!(fs::read_to_string(&key_file).unwrap(), key);

            let jwks: Value =
                serde_json::from_slice(&fs::read(Path::new(out).join(JWKS_FILE)).unwrap()).unwrap();
            assert_eq!(jwks["keys"][0]["alg"], alg);
            assert!(jwks["keys"][0].get("d").is_none());

            let key_file = key_file.to_str().unwrap();
            let mint = [
                "mint", "--key", key_file, "--iss", "i", "--aud", "a", "--sub", "alice",
            ];
            let more = [
                "--role", "admin", "--scope", "x y", "--claim", "n=[1]", "--ttl", "1h",
            ];
            let token = run_args(&[&mint[..], &more[..]].concat()).unwrap();
            assert_eq!(token.split('.').count(), 3);
        }
    }

    #[test]
    fn a_claim_is_json() {
        assert_eq!(parse_claim("a=1").unwrap(), ("a".to_owned(), json!(1)));
        assert_eq!(
            parse_claim("a=\"b=c\"").unwrap(),
            ("a".to_owned(), json!("b=c"))
        );
        assert!(parse_claim("a=b").is_err());
        assert!(parse_claim("a").is_err());
    }
}
