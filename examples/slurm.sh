#!/bin/bash
# Trains one run on two machines with four GPUs each: sbatch examples/slurm.sh
#
# A process for each GPU. They find each other through Slurm's variables, need no flags for it, and
# have to see the same folders: this one, that of the data, and that of the run.
#SBATCH --job-name=mixer
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=SIGUSR1@120
#SBATCH --open-mode=append

# Two minutes before the time is up all processes get SIGUSR1; when the job is preempted or requeued
# they get SIGTERM. After either they save and end. The folder has a name of its own, so that the job,
# when it is run again, goes on with the run. Since Slurm 22.05 srun does not take the number of cores
# from sbatch by itself.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" .venv/bin/python launch.py \
    --config=configs/imagenet/mixer_b16.py \
    --config.data.source=shards:/data/imagenet \
    --workdir="runs/mixer-$SLURM_JOB_ID"
status=$?

# 138 is SIGUSR1 (128 + 10): it has saved, and is not done.
if [ "$status" -eq 138 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
