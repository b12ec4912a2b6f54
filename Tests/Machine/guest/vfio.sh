nv0=$(behind "$nv0_slot") nv1=$(behind "$nv1_slot") ivs=$(behind "$ivs_slot")
export GENPOOL_SOCKET=/run/genpool.socket
pci=/sys/bus/pci
genpoolctl device show $ivs
genpoolctl device bind $ivs
load vfio_pci; load vfio_iommu_type1; 
genpoolctl device bind $ivs --dry-run
genpoolctl device bind $ivs
ls -l /dev/vfio
cat /run/genpool/bindings/*
genpoold --attach "$ivs:2,offset=1M,size=8M,name=ivs,source=vfio" 2>&1 &
daemon=$!
within 10 genpoolctl pool show ivs
genpoolctl lease acquire --pool ivs --size 64K --fill 0xa5 --dump=32
genpoolctl device unbind $ivs
genpoolctl pool list
genpoolctl device bind $ivs
genpoolctl device unbind $ivs --dry-run
dmesg | tail -30
true
