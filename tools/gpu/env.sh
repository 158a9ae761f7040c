# Sourced on the GPU machine: what tools/gpu/unpack.py put into /opt/site and /opt/deb.
export PYTHONPATH=/opt/site${PYTHONPATH:+:$PYTHONPATH} PATH=/opt/site/bin:/opt/deb/usr/bin:$PATH PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
# NVLink multicast stays off: a program that uses it can disturb other users of the host's GPUs.
export NCCL_NVLS_ENABLE=0 TORCH_SYMM_MEM_DISABLE_MULTICAST=1 NVSHMEM_DISABLE_NVLS=1
nvshmem=$(python3 -c 'import importlib.util as u; print(*[p + "/nvshmem/lib" for p in u.find_spec("nvidia").submodule_search_locations], sep=":")')
export LD_LIBRARY_PATH=$nvshmem${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
unset nvshmem
