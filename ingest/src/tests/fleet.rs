//! Fleet folders with mistakes: each is named with file, line, column and the mend.

use candor_policy::problem::Problem;

use super::world::{CONSENTS, Folders, sources};
use crate::fleet::Fleet;

fn problems(folders: &Folders) -> Vec<Problem> {
    Fleet::load(&folders.fleet()).unwrap_err().0
}

/// The one problem of a folder whose `sources.toml` is `text`.
fn problem_of_sources(text: &str) -> Problem {
    let folders = Folders::new();
    folders.write("sources.toml", text);
    let mut problems = problems(&folders);
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

#[test]
fn a_good_folder_loads() {
    let folders = Folders::new();
    let fleet = Fleet::load(&folders.fleet()).unwrap();
    assert_eq!(fleet.sources.iter().count(), 6);
    assert_eq!(fleet.consents.len(), 2);
}

#[test]
fn mistakes_in_sources_are_named_with_their_place() {
    let good = sources();
    let replaced = |from: &str, to: &str| problem_of_sources(&good.replacen(from, to, 1));

    let problem = replaced("roles = [\"device\"]", "roles = [\"devise\"]");
    assert_eq!((problem.line, problem.column), (3, 10));
    assert!(problem.mend.contains("device, subject, auditor"), "{problem}");

    let problem = replaced("subject = \"resource.device.id\"\n", "");
    assert!(problem.message.contains("needs a subject"), "{problem}");

    let problem = replaced("\"resource.device.id\"", "\"body\"");
    assert_eq!((problem.line, problem.column), (4, 11));

    let signed = |roles: &str| format!("roles = [{roles}]\nsigned = true");
    let problem = replaced("roles = [\"device\"]", &signed("\"device\""));
    assert_eq!(problem.line, 4);
    assert!(problem.message.contains("needs no subject"), "{problem}");
    let agents = "[source.agents]\ntoken_file = \"tokens/agents\"\n";
    for roles in ["\"device\", \"operator\"", "\"operator\""] {
        let problem = problem_of_sources(&format!("{agents}{}", signed(roles)));
        assert_eq!((problem.line, problem.mend.as_str()), (3, "write roles = [\"device\"]"), "{problem}");
    }

    let problem = replaced("tokens/device\"", "tokens/absent\"");
    assert_eq!((problem.line, problem.column), (2, 14));
    assert!(problem.message.contains("cannot be read"), "{problem}");

    let problem = replaced("tokens/subject\"", "tokens/device\"");
    assert!(problem.message.contains("same token"), "{problem}");

    let problem = replaced("[source.devices]", "[source.\"../devices\"]");
    assert_eq!((problem.line, problem.column), (1, 9));

    let problem = replaced("roles = [\"device\"]", "roles = [\"device\"]\ntoken = \"do-not-show-this\"");
    assert_eq!(problem.line, 4);
    assert!(!problem.to_string().contains("do-not-show-this"), "{problem}");
}

#[test]
fn mistakes_in_statements_are_named_without_their_values() {
    let folders = Folders::new();
    folders.write("consent.jsonl", &format!("{CONSENTS}{}", CONSENTS.replace("analytics", "canary-4711")));
    let found = problems(&folders);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].line, 4);
    assert!(!found[0].to_string().contains("canary-4711"));

    folders.write("consent.jsonl", &CONSENTS.replace("\"given\"}", "\"canary-4711\"}"));
    let found = problems(&folders);
    assert_eq!(found.iter().map(|problem| problem.line).collect::<Vec<_>>(), [1, 3]);
    assert!(found.iter().all(|problem| !problem.to_string().contains("canary-4711")));
}

#[test]
fn who_runs_the_fleet_is_read_if_the_folder_says_it() {
    let folders = Folders::new();
    folders.write("parties.toml", "controllers = ['Test GmbH']\nwithdrawal = 'In the app'\n");
    let parties = Fleet::load(&folders.fleet()).unwrap().parties;
    assert_eq!(
        (parties.controllers.as_slice(), parties.withdrawal.as_str()),
        (&["Test GmbH".to_owned()][..], "In the app")
    );
    folders.write("parties.toml", "withdrawal = 'x'\ncontroller = ['Test GmbH']\n");
    assert_eq!((problems(&folders)[0].line, problems(&folders)[0].column), (2, 1));
}

#[test]
fn a_folder_that_is_none_says_what_belongs_there() {
    let folders = Folders::new();
    std::fs::remove_file(folders.fleet().join("policy.toml")).unwrap();
    std::fs::remove_file(folders.fleet().join("sources.toml")).unwrap();
    let found = problems(&folders);
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|problem| problem.mend.contains("catalogue.toml, policy.toml and sources.toml")));
}

#[test]
fn a_hierarchy_is_read_beside_the_policy_and_is_part_of_its_digest() {
    let folders = Folders::new();
    let policy = std::fs::read_to_string(folders.fleet().join("policy.toml")).unwrap();
    let plain = candor_policy::policy::Policy::parse(&policy, "policy.toml").unwrap().digest;
    let rule = "\n[[rule]]\nid = \"words\"\nstream = \"*\"\npurpose = \"*\"\nemit.app_package = { op = \"hierarchy\", file = \"packages.csv\", level = 1 }\n";
    folders.write("policy.toml", &format!("{policy}{rule}"));

    let found = problems(&folders);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].message.contains("`packages.csv` cannot be read"), "{}", found[0]);
    assert_eq!(found[0].line, policy.lines().count() + 6);

    let digest = |words: &str| {
        folders.write("packages.csv", words);
        crate::fleet::load_plan(&folders.fleet()).unwrap().policy().digest
    };
    let (one, two) = (digest("org.maps;travel\n"), digest("org.maps;transport\n"));
    assert!(one != two && one != plain);
}
