//! `plan`: which entries there would be, and what would change. Writes nothing.

use std::{
    io::{self, BufWriter, Write},
    process::ExitCode,
};

use anyhow::bail;
use registrar_adapters::manifests;

use crate::{
    cli::{Output, PlanArgs},
    collect::{self, policy_of},
    command::{configuration, exit_code, finish},
    render::{
        self, Paint,
        view::{Input, PlanView},
    },
};

/// Prints the plan.
///
/// # Errors
/// If the configuration, the input, the cluster or the server cannot be read.
pub fn plan(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let (policy, common) = policy_of(configuration(&args.config)?)?;
    if args.from_scm {
        let sources = manifests::sources(&args.sources)?;
        let entries = args.entries.as_deref();
        return crate::scm::compare(policy, &sources, entries, args.output);
    }
    let collected = if args.live {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let kubeconfig = args.kubeconfig.as_ref();
        let keep = collect::for_a_plan(&policy);
        let collected = runtime.block_on(collect::live(policy.clone(), &common, kubeconfig, &keep));
        // What still listens to the cluster is of no interest any more.
        runtime.shutdown_background();
        collected?
    } else {
        let sources = manifests::sources(&args.sources)?;
        let entries = args.entries.as_deref().map(collect::entries_of);
        collect::offline(policy.clone(), &sources, entries.transpose()?)?
    };
    let input = Input::from(&collected);
    let troubles = collected.troubles.clone();
    let plan = collected.plan();
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = match args.output {
        Output::Table => {
            let paint = Paint::of_standard_output();
            render::plan(&mut out, paint, &plan, &input, &policy)
        }
        Output::Json | Output::Yaml => {
            let view = PlanView::new(&plan, &input, &policy);
            render::data(&mut out, &view, args.output == Output::Yaml)
        }
    };
    finish(printed.and_then(|()| out.flush()))?;
    for trouble in &troubles {
        eprintln!("{}", render::clean(trouble));
    }
    if !troubles.is_empty() {
        bail!("the input could not be read to its end; the plan is of what could be read");
    }
    Ok(exit_code(!plan.held.is_empty()))
}
