# What `sgl-launch preflight` runs on the nodes after preflight.sh: a part in each worker group's
# all-reduce, then one in the transfers between prefill and decode heads. Below these functions stand
# the node's parts, as the plan says. Each prints lines "SGL_NET {...}".

# part LABEL PYTHON COMMAND: becomes the program, if there is such a Python. LABEL is the line that
# says for whom, its state and text still open.
part() {
  if command -v "$2" >/dev/null; then
    eval "$3" </dev/null && return
    # shellcheck disable=SC2059 # LABEL is a format
    printf "SGL_NET $1\n" bad "$2 ended with exit status $?"
  else
    # shellcheck disable=SC2059 # LABEL is a format
    printf "SGL_NET $1\n" none "no $2"
  fi
}

# gpu POSITION: the one GPU of this part, by its position among those that the job has here.
gpu() {
  local all=()
  IFS=, read -ra all <<<"${CUDA_VISIBLE_DEVICES:-}"
  export CUDA_VISIBLE_DEVICES=${all[$1]:-$1}
}
