//! Commands that speak to a running server.

use super::arguments::{AdminArguments, DeployArguments, InvokeArguments};
use super::{Failure, data, variable};
use crate::units::format_size;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;

/// Compiling a large module takes its time.
const DEPLOY_TIMEOUT_SECONDS: u64 = 600;
const TIMEOUT_SECONDS: u64 = 60;

/// Percent-encodes what RFC 3986 does not call unreserved.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Sends a request to the admin API and gives the answer's body, or its error as the server words it.
fn admin(
    request: minreq::Request,
    admin: &AdminArguments,
    timeout_seconds: u64,
) -> Result<Value, Failure> {
    let response = send(request.with_timeout(timeout_seconds), &admin.url)?;
    let body: Value = serde_json::from_slice(response.as_bytes()).unwrap_or(Value::Null);
    if (200..300).contains(&response.status_code) {
        return Ok(body);
    }
    Err(match body["error"]["message"].as_str() {
        Some(message) => Failure(message.to_owned()),
        None => Failure(format!(
            "{} answered {} {}: is this a Dormouse admin API?",
            admin.url, response.status_code, response.reason_phrase
        )),
    })
}

fn send(request: minreq::Request, url: &str) -> Result<minreq::Response, Failure> {
    request.send().map_err(|error| {
        Failure(format!(
            "{url} does not answer: {error}; is `dormouse serve` running there?"
        ))
    })
}

fn function_url(admin: &AdminArguments, name: &str) -> String {
    format!(
        "{}/v1/functions/{}",
        admin.url.trim_end_matches('/'),
        encoded(name)
    )
}

pub fn deploy(arguments: &DeployArguments) -> Result<(), Failure> {
    let file = arguments.file.display();
    let module = fs::read(&arguments.file)
        .map_err(|error| Failure(format!("{file}: cannot be read: {error}")))?;
    let settings = [
        ("memory", &arguments.memory),
        ("timeout", &arguments.timeout),
        ("cpu", &arguments.cpu),
        ("stack", &arguments.stack),
        ("table", &arguments.table),
        ("queue", &arguments.queue),
        ("concurrency", &arguments.concurrency),
        ("init-entropy", &arguments.init_entropy),
    ];
    let mut query: Vec<String> = settings
        .into_iter()
        .filter_map(|(key, value)| Some(format!("{key}={}", encoded(value.as_ref()?))))
        .collect();
    for text in &arguments.env {
        let (name, value) = variable(text)?;
        query.push(format!("env.{}={}", encoded(&name), encoded(&value)));
    }
    let url = format!(
        "{}?{}",
        function_url(&arguments.admin, &arguments.name),
        query.join("&")
    );
    let answer = crate::run::with_progress("deploying", || {
        admin(
            minreq::put(url).with_body(module),
            &arguments.admin,
            DEPLOY_TIMEOUT_SECONDS,
        )
    })
    .map_err(|Failure(message)| Failure(format!("{file}: {message}")))?;
    println!(
        "{} {}",
        arguments.name,
        answer["version"].as_str().unwrap_or("deployed")
    );
    Ok(())
}

pub fn list(arguments: &AdminArguments) -> Result<(), Failure> {
    let url = format!("{}/v1/functions", arguments.url.trim_end_matches('/'));
    let answer = admin(minreq::get(url), arguments, TIMEOUT_SECONDS)?;
    let functions = answer["functions"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let mut out = format!(
        "{:32} {:16} {:8} {:>12} {:>6} {:>10}\n",
        "NAME", "VERSION", "KIND", "IMAGE", "WARM", "CALLS"
    );
    for function in &functions {
        let _ = writeln!(
            out,
            "{:32} {:16} {:8} {:>12} {:>6} {:>10}",
            text(&function["name"]),
            text(&function["version"]),
            text(&function["kind"]),
            format_size(number(&function["image_bytes"])),
            number(&function["warm_instances"]),
            number(&function["calls"]),
        );
    }
    print(out.as_bytes())
}

pub fn remove(name: &str, arguments: &AdminArguments) -> Result<(), Failure> {
    admin(
        minreq::delete(function_url(arguments, name)),
        arguments,
        TIMEOUT_SECONDS,
    )
    .map(|_| ())
}

pub fn invoke(arguments: &InvokeArguments) -> Result<(), Failure> {
    let body = data(arguments.data.as_deref())?;
    let path = &arguments.path;
    if !(path.is_empty() || path.starts_with('/') || path.starts_with('?')) {
        return Err(Failure(format!("--path {path}: begin it with / or ?")));
    }
    let url = format!(
        "{}/{}{path}",
        arguments.url.trim_end_matches('/'),
        encoded(&arguments.name)
    );
    let method = match &arguments.method {
        Some(method) => minreq::Method::Custom(method.clone()),
        None if body.is_some() => minreq::Method::Post,
        None => minreq::Method::Get,
    };
    let mut request = minreq::Request::new(method, url)
        .with_timeout(DEPLOY_TIMEOUT_SECONDS)
        .with_follow_redirects(false);
    for header in &arguments.header {
        let Some((name, value)) = header.split_once(':') else {
            return Err(Failure(format!(
                "--header {header}: write it as NAME: VALUE"
            )));
        };
        request = request.with_header(name.trim(), value.trim());
    }
    if let Some(body) = body {
        request = request.with_body(body);
    }
    let response = send(request, &arguments.url)?;
    print(response.as_bytes())?;
    if response.status_code < 400 {
        return Ok(());
    }
    Err(Failure(format!(
        "{}: answered {} {}",
        arguments.name, response.status_code, response.reason_phrase
    )))
}

/// Writes to standard output; a reader that has gone is not our failure.
fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure(format!(
            "standard output cannot be written: {error}"
        ))),
        _ => Ok(()),
    }
}
