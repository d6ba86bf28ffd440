//! What `--help` says of it.

/// Tables and keys.
pub(crate) const HELP: &str = "  [optimizer]
  rule = \"adamw\"               or another that `fallline train --help` lists
  lr = 1e-3                    and betas, eps, weight_decay, amsgrad, maximize, momentum,
                               dampening, nesterov, beta2_decay, d_coef, ..., as the rule has them
  caution = false              follow the rule's direction only where the gradient has its sign
  cautious_decay = false       decay weights only where the direction does not work against it
  update_clipping = 1.0        the largest root mean square of a tensor's direction
  lookahead_k = 5              Lookahead after the rule; of both one is enough
  lookahead_alpha = 0.5
  ema_decay = 0.999            an average of the parameters
  ema_warmup = false           which follows closely at first
  swa_start = 1                or the equal average of them, from this step of the tensor on
  swa_every = 1                and in each so many; of both one is enough
  master = \"none\"              how 16-bit parameters are kept: as they are, with a copy in f32
                               (\"f32\"), or with the 16 bits that bf16 lacks of it
                               (\"remainder\"), or 8 of these (\"remainder8\")
  stochastic_rounding = false  of 16-bit parameters without a master
  seed = 0                     of the stochastic rounding
  state = \"f32\"                in what the state is kept, in groups too: a format of
                               `fallline bench --state`; bf16 is rounded by chance, from seed
  min_state_elems = 4096       smaller tensors keep their state in f32
  no_decay = false             true: weight_decay 0 for biases, norms and tensors of at most one
                               dimension, in all groups; or globs of others that are not decayed
  layer_decay = 0.75           learning rates fall by this factor from the last layer to the first,
  layers = [\"*embed*\", \"blocks.#.*\"]   by globs from the input to the output: a | is between
                               globs of one layer, a # any number, each a layer; others come last
  first_match_wins = false     whether a tensor that several groups list belongs to the first
  permit_unused = false        whether globs and names may match no tensor
  [clip]                       with both, norm first
  norm = 1.0                   of all gradients; inf only measures it
  value = 0.5                  of every element
  [loss_scale]                 torch.amp.GradScaler's, with its defaults
  init = 65536.0
  growth = 2.0                 factor after interval steps without overflow
  backoff = 0.5                factor after an overflow
  interval = 2000              0: the scale is fixed; then growth, backoff, min are an error
  min = 1.0                    its smallest value, which torch has not; at most init
  [schedule]                   what the groups' learning rates follow, each from its lr on: kinds,
  kind = \"cosine_annealing\"    options and metrics are those of `fallline schedule --help`. one_cycle
  T_max = 1000                 and cyclic move momentum or beta1 too, unless cycle_momentum = false.
                               Rules that are schedule-free or have a fixed learning rate do not
                               follow; an array of a value for each group leaves these out, and those
                               with a schedule of their own
  [weight_decay_schedule]      what the groups' weight decays follow that are not 0
  [[group]]                    any number of them
  tensors = [\"*.bias\"]         which tensors, by globs; or beside these, or instead:
  names = [\"block[0].w\"]       by names, which stand for themselves; [] is a group without tensors
  max_dims = 1                 and of these, or of all, those with at most so many dimensions
  weight_decay = 0.0           what differs; a group with its own lr keeps its ratio to the base's where
                               that alone is given: by a trace, or --lr
  state = \"f32\"                and min_state_elems, master, caution, lookahead_k, ..., where they
                               differ; false switches off what the base has
  schedule = { kind = \"step\", step_size = 30 }
                               of this group, instead of [schedule]; false: none;
                               weight_decay_schedule likewise
  clip_norm = 0.1              of this group's gradients, instead of [clip] norm, which then
                               limits the other groups alone, but is still the norm of all; false
                               exempts the group
  frozen = false               true: none of its tensors takes a step, whatever gradients there
                               are; or { from_step = 3, to_step = 9 }; in [optimizer] too
";
