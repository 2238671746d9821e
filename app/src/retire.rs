//! `retire`: removes what another mode or `controller_name` left on the server, once nobody needs it any more.

use std::{
    io::{self, BufWriter, Write},
    process::ExitCode,
    sync::Arc,
};

use anyhow::bail;
use registrar_adapters::{config::Common, spire::SpireServer};
use registrar_core::{
    entry::{EntryId, RegisteredEntry},
    policy::Policy,
    ports::{Outcome, SpireAnswer, SpireCall},
    rules::FormerRoot,
    sync::Retirement,
};

use crate::{
    cli::RetireArgs,
    collect::{self, policy_of},
    command::{configuration, finish},
    progress::Progress,
    render::{self, Paint},
    server::server,
};

/// Deletes in one call.
const BATCH: usize = 100;

/// Lists the entries under a former root; with `-apply` removes them.
///
/// # Errors
/// If the root is none of this cluster, something cannot be read, a living pod would lose its identity, or an entry
/// cannot be removed.
pub fn retire(args: &RetireArgs) -> anyhow::Result<ExitCode> {
    let (policy, common) = policy_of(configuration(&args.config)?)?;
    let former = FormerRoot::parse(&policy, &args.root)?;
    if args.apply && policy.dry_run {
        bail!(
            "dry_run is set in the configuration, so nothing is removed: leave -apply out, or unset dry_run"
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(retire_from(args, policy, &common, &former));
    // What still listens to the cluster is of no interest any more.
    runtime.shutdown_background();
    result
}

async fn retire_from(
    args: &RetireArgs,
    policy: Policy,
    common: &Common,
    former: &FormerRoot,
) -> anyhow::Result<ExitCode> {
    let kubeconfig = args.kubeconfig.as_ref();
    let keep = |e: &RegisteredEntry| former.covers(e);
    let collected = collect::live(policy.clone(), common, kubeconfig, &keep).await?;
    let retirement = collected.machine.retirement(former, &collected.others);
    let mut out = BufWriter::new(io::stdout());
    let printed = render::retirement(
        &mut out,
        Paint::of_standard_output(),
        &retirement,
        former,
        &policy,
    );
    finish(printed.and_then(|()| out.flush()))?;
    if !retirement.uncovered.is_empty() {
        bail!(
            "{} living pods would lose their identity (see above): nothing {} removed",
            retirement.uncovered.len(),
            if args.apply { "is" } else { "can be" }
        );
    }
    if args.apply {
        let removed = remove(&*server(common, Arc::new(|| true)), &retirement).await?;
        println!("\nremoved {removed} entries");
    } else if !retirement.remove.is_empty() {
        println!("\nnothing was removed; add -apply to remove them");
    }
    Ok(ExitCode::SUCCESS)
}

async fn remove(server: &dyn SpireServer, retirement: &Retirement) -> anyhow::Result<usize> {
    let ids: Vec<EntryId> = retirement
        .remove
        .iter()
        .map(|(_, e)| e.id.clone())
        .collect();
    let mut progress = Progress::new(Some(ids.len() as u64));
    let mut removed = 0;
    for batch in ids.chunks(BATCH) {
        let call = SpireCall::Delete {
            ids: batch.to_vec(),
        };
        let outcomes = match server.perform(call).await {
            Ok(SpireAnswer::Written(outcomes)) => outcomes,
            Ok(_) => {
                bail!("the SPIRE Server's answer does not fit; {removed} entries were removed")
            }
            Err(failure) => bail!(
                "{}; {removed} entries were removed; run the command again for the rest",
                failure.message
            ),
        };
        for (id, outcome) in batch.iter().zip(outcomes) {
            match outcome {
                Outcome::Ok | Outcome::NotFound => removed += 1,
                Outcome::AlreadyExists(_) => bail!("entry {id}: unexpected answer to a delete"),
                Outcome::Refused(failure) => bail!(
                    "entry {id} cannot be removed: {}; {removed} entries were removed",
                    failure.message
                ),
            }
        }
        progress.at(removed as u64, || format!("{removed} removed"));
    }
    Ok(removed)
}
