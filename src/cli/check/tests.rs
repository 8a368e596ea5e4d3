use std::fs;

use tempfile::TempDir;

use super::*;

/// A folder with the fortress pack and a configuration for it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (from, to) in [
            ("policies/fortress/users.cedar", "policies/users.cedar"),
            ("policies/fortress/entities.json", "entities.json"),
            ("policies/fortress/routes.yaml", "routes.yaml"),
            ("schemas/fortress.cedarschema", "fortress.cedarschema"),
        ] {
            let to = folder.path().join(to);
            fs::create_dir_all(to.parent().expect("a parent")).expect("a folder");
            fs::copy(repository.join(from), to).expect("copied");
        }
        let folder = Self(folder);
        folder.write(
            "portcullis.yaml",
            "\
upstream: { url: http://127.0.0.1:3000 }
policies:
  source: { dir: policies }
  schema: fortress.cedarschema
  entities: entities.json
  namespace: Fortress
routes: { file: routes.yaml }
issuers:
  - name: first-party
    issuer: [https://auth.example.com]
    jwks: { url: https://auth.example.com/.well-known/jwks.json }
    audiences: [cloud-app]
    algorithms: [ES256]
    principal:
      groups: { claim: roles, type: Role }
      attributes: { user_type: user_type }
",
        );
        folder
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).expect("written");
    }

    fn replace(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.0.path().join(name)).expect("read");
        assert!(text.contains(from), "{name} holds {from}");
        self.write(name, &text.replace(from, to));
    }

    fn examine(&self) -> Examination {
        examine(&self.0.path().join("portcullis.yaml"), &|_| None)
    }

    /// The problems, without the folder.
    fn problems(&self) -> Vec<String> {
        self.lines(&self.examine().problems)
    }

    fn lines(&self, problems: &[Problem]) -> Vec<String> {
        let folder = format!("{}/", self.0.path().display());
        problems
            .iter()
            .map(|problem| problem.to_string().replace(&folder, ""))
            .collect()
    }
}

#[test]
fn a_system_that_fits_is_counted() {
    let folder = Folder::new();
    let examination = folder.examine();
    assert_eq!(folder.lines(&examination.problems), Vec::<String>::new());
    assert_eq!(folder.lines(&examination.warnings), Vec::<String>::new());
    let Counts {
        policies,
        entities,
        routes,
        issuers,
    } = examination.counts;
    assert!(
        policies >= 4 && entities >= 5 && routes >= 10,
        "{:?}",
        examination.counts
    );
    assert_eq!(issuers, 1);
}

#[test]
fn mistakes_in_all_parts_are_told_in_one_run() {
    let folder = Folder::new();
    folder.replace(
        "portcullis.yaml",
        "upstream: {",
        "upstream: { conect_timeout: 1s,",
    );
    folder.replace("portcullis.yaml", "type: Role", "type: Roll");
    folder.replace("routes.yaml", "action: list_users", "action: list_user");
    let problems = folder.problems();
    assert_eq!(
        problems,
        [
            "portcullis.yaml:1:13: upstream.conect_timeout: unknown key; did you mean `connect_timeout`?".to_owned(),
            problems.get(1).cloned().unwrap_or_default(),
            "portcullis.yaml:15:31: issuers[0].principal.groups.type: the schema has no entity type `Fortress::Roll`; did you mean `Fortress::Role`?".to_owned(),
        ]
    );
    let second = problems.get(1).expect("a problem of the routes");
    assert!(second.starts_with("routes.yaml:") && second.contains("routes[3].action: the schema has no action `Fortress::Action::\"list_user\"`; did you mean `list_users`?"), "{second}");

    // A policy that does not parse hides the cross-checks, and nothing else.
    folder.write(
        "policies/broken.cedar",
        "permit (principal, action, resource)\nwhen { principal.nope };\n oops",
    );
    let problems = folder.problems();
    assert!(
        problems
            .iter()
            .any(|line| line.starts_with("policies/broken.cedar:")),
        "{problems:?}"
    );
    assert!(
        problems.iter().any(|line| line.contains("conect_timeout")),
        "{problems:?}"
    );
}

#[test]
fn a_forgotten_namespace_is_found() {
    let folder = Folder::new();
    folder.replace("portcullis.yaml", "  namespace: Fortress\n", "");
    let problems = folder.problems();
    assert!(
        problems
            .iter()
            .any(|line| line.contains("set `policies.namespace: Fortress`")),
        "{problems:?}"
    );
    folder.replace(
        "portcullis.yaml",
        "  source:",
        "  namespace: Fortres\n  source:",
    );
    let problems = folder.problems();
    assert!(
        problems.iter().any(|line| line.contains(
            "policies.namespace: the schema has no namespace `Fortres`: it has `Fortress`"
        )),
        "{problems:?}"
    );
}

#[test]
fn an_action_without_a_route_is_a_warning() {
    let folder = Folder::new();
    folder.replace("routes.yaml", "action: enable_user", "action: disable_user");
    let examination = folder.examine();
    assert!(
        examination.problems.is_empty(),
        "{:?}",
        examination.problems
    );
    assert_eq!(
        folder.lines(&examination.warnings),
        ["fortress.cedarschema: no route asks for action `Fortress::Action::\"enable_user\"`"]
    );
}

#[test]
fn what_cannot_be_read_is_told() {
    let folder = Folder::new();
    fs::remove_file(folder.0.path().join("routes.yaml")).expect("removed");
    fs::remove_file(folder.0.path().join("fortress.cedarschema")).expect("removed");
    let problems = folder.problems();
    for name in ["routes.yaml: cannot be read", "fortress.cedarschema"] {
        assert!(
            problems.iter().any(|line| line.starts_with(name)),
            "{problems:?}"
        );
    }
    let missing = examine(Path::new("/nonexistent/portcullis.yaml"), &|_| None);
    assert_eq!(missing.problems.len(), 1);
}
