//! What is judged without a server; `tests/integration` asks a real one.

use super::*;

fn config(members: &str) -> RedisConfig {
    serde_json::from_str(members).unwrap()
}

fn problems(members: &str) -> Vec<(String, String)> {
    Redis::new(&config(members), Path::new("/nowhere"), &Registry::new()).unwrap_err()
}

#[test]
fn only_a_primary_that_never_evicts_is_relied_on() {
    let single = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n";
    let primary = "# Replication\r\nrole:master\r\nconnected_slaves:1\r\n";
    let safe = "# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n";
    assert_eq!(judge(single, primary, safe), Ok(()));
    assert_eq!(
        judge("", primary, safe),
        Ok(()),
        "not all servers have modes"
    );
    for (mode, expected) in [("cluster", "Redis Cluster"), ("sentinel", "a Sentinel")] {
        let server = single.replace("standalone", mode);
        let message = judge(&server, primary, safe).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
    for (replication, memory, expected) in [
        ("role:slave\r\n", safe, "no primary, but `slave`"),
        ("", safe, "whether it is a primary"),
        (
            primary,
            "maxmemory_policy:volatile-lru\r\n",
            "`volatile-lru`",
        ),
        (primary, "maxmemory_policy:allkeys-lfu\r\n", "`allkeys-lfu`"),
        (primary, "maxmemory_policy:noeviction2\r\n", "`noeviction2`"),
        (primary, "", "does not tell"),
    ] {
        let message = judge(single, replication, memory).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn mistakes_are_named_without_the_password() {
    for (members, key) in [
        (r#"{"url": "http://:hunter2@cache"}"#, "url"),
        (r#"{"url": "hunter2"}"#, "url"),
        (r#"{"url": "redis-cluster://:hunter2@cache"}"#, "url"),
        (r#"{"url": "redis+sentinel://:hunter2@cache"}"#, "url"),
        (r#"{"url": "rediss://:hunter2@cache/#insecure"}"#, "url"),
        (r#"{"url": {"file": "hunter2"}}"#, "url"),
        (
            r#"{"url": "redis://:hunter2@cache", "ca_file": "ca.pem"}"#,
            "ca_file",
        ),
        (
            r#"{"url": "rediss://:hunter2@cache", "ca_file": "ca.pem"}"#,
            "ca_file",
        ),
        (r#"{"url": "redis://cache", "timeout": "0s"}"#, "timeout"),
        (
            r#"{"url": "redis://cache", "connect_timeout": "31s"}"#,
            "connect_timeout",
        ),
    ] {
        let problems = problems(members);
        assert_eq!(problems.len(), 1, "{members}");
        assert_eq!(problems[0].0, key, "{members}");
        assert!(!problems[0].1.contains("hunter2"), "{}", problems[0].1);
    }
}

#[test]
fn answers_are_typed() {
    let text = |text: &str| Value::BulkString(text.into());
    let mut answers = Answers(
        vec![
            text("a"),
            Value::Nil,
            Value::Int(2),
            Value::Int(-1),
            text("b"),
            Value::Okay,
        ]
        .into_iter(),
    );
    assert_eq!(answers.text(), Ok(Some("a".to_owned())));
    assert_eq!(answers.text(), Ok(None));
    assert_eq!(answers.count(), Ok(2));
    assert!(answers.count().is_err(), "negative");
    assert!(answers.count().is_err(), "text");
    assert!(answers.text().is_err(), "a status");
    assert!(answers.text().is_err(), "nothing left");
}

#[tokio::test]
async fn without_a_connection_nobody_waits() {
    let redis = Redis::new(
        &config(r#"{"url": "redis://127.0.0.1:1"}"#),
        Path::new("."),
        &Registry::new(),
    )
    .unwrap();
    let answer = redis
        .ask(|commands| {
            commands.cmd("GET").arg("x");
        })
        .await;
    assert_eq!(answer.unwrap_err(), Unanswered("not connected to Redis"));
    assert!(!redis.health().ready && !redis.attempted());
}

#[test]
fn a_node_of_a_cluster_is_told_from_a_refusal() {
    for (said, cluster) in [
        ("MOVED 3999 127.0.0.1:6381", true),
        ("ASK 3999 127.0.0.1:6381", true),
        ("CLUSTERDOWN Hash slot not served", true),
        (
            "CROSSSLOT Keys in request don't hash to the same slot",
            true,
        ),
        ("WRONGTYPE Operation against a key of another kind", false),
        ("NOPERM no permissions", false),
    ] {
        let error = ::redis::parse_redis_value(format!("-{said}\r\n").as_bytes()).unwrap();
        let mut answers = Answers(vec![error].into_iter());
        let Unanswered(why) = answers.text().unwrap_err();
        assert_eq!(why.contains("Redis Cluster"), cluster, "{said}: {why}");
    }
}
